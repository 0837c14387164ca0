"""`Treatment`: the learning rate and weight decay of one variable, or that it is frozen."""

from __future__ import annotations

from dataclasses import dataclass

from ppema.config import Duration


@dataclass(frozen=True)
class Treatment:
    """How one variable is trained, as far as that differs from the optimizer's settings.

    lr_scale: factor of the learning rate. weight_decay: coefficient in place of the optimizer's; None: the optimizer's.
    frozen: whether the variable keeps its initial value. frozen_for: how long it does so from the start of
    the run on; None: not at all.
    """

    lr_scale: float = 1.0
    weight_decay: float | None = None
    frozen: bool = False
    frozen_for: Duration | None = None

    def __str__(self) -> str:
        """The treatment in words, for reports; "" if it is the optimizer's own."""
        if self.frozen:
            return "frozen"
        scale = f"lr × {self.lr_scale:.6g}" if self.lr_scale != 1 else ""
        decay = f"weight decay {self.weight_decay:.6g}" if self.weight_decay is not None else ""
        trained = ", ".join(filter(None, (scale, decay)))
        if self.frozen_for is None:
            return trained
        return f"frozen for {self.frozen_for}{f', then {trained}' if trained else ''}"
