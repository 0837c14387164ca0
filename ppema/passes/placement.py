"""The result of the oneDNN pass: which operations of a program oneDNN computes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

# Operations whose replacement by one of ppema's own rounds differently. Those of biases and of ReLU have the same bits.
ROUNDED = ("softmax", "gelu_grad", "layer_norm_grad")


@dataclass(frozen=True)
class Placement:
    """The result of the oneDNN pass, as numbers of operations by kind.

    placed: operations that oneDNN computes. native: convolutions that Paddle's own kernels compute. replaced: operations
    replaced by faster ones of Paddle or ppema. last: kind of an operation with channels last, which ruled out oneDNN; None: no
    such operation.
    """

    placed: Counter[str]
    native: Counter[str]
    replaced: Counter[str]
    last: str | None = None

    @property
    def any(self) -> bool:
        """Whether the program has any convolution."""
        return bool(self.placed or self.native)

    @property
    def changed(self) -> bool:
        """Whether results may differ from those of Paddle's own kernels by rounding."""
        return bool(self.placed or self.replaced)

    @property
    def own_layers(self) -> bool:
        """Whether results may differ because ppema's own operations compute parts of layers."""
        return any(self.replaced[kind] for kind in ROUNDED)

    def __str__(self) -> str:
        """The placement in words, for the report of passes."""
        left = f"; Paddle's own kernels compute {_counted(self.native)}" if self.native else ""
        why = f", as there is a {self.last} with channels last" if self.last else ""
        return f"computes {_counted(self.placed) or 'nothing'}{why}{left}"


def _counted(kinds: Counter[str]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
