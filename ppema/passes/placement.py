"""Which operations of a program oneDNN computes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True)
class Placement:
    """What a pass came to, as numbers of operations by kind.

    placed: computed by oneDNN; native: convolutions that are not; replaced: by others of Paddle's; last: the kind of an
    operation with channels last, because of which nothing was placed, or None.
    """

    placed: Counter[str]
    native: Counter[str]
    replaced: Counter[str]
    last: str | None = None

    @property
    def any(self) -> bool:
        """Whether the program has a convolution at all."""
        return bool(self.placed or self.native)

    @property
    def changed(self) -> bool:
        """Whether results may differ from Paddle's own in rounding."""
        return bool(self.placed or self.replaced)

    def __str__(self) -> str:
        """In words, for people."""
        left = f"; Paddle's own kernels compute {_counted(self.native)}" if self.native else ""
        why = f", as there is a {self.last} with channels last" if self.last else ""
        return f"computes {_counted(self.placed) or 'nothing'}{why}{left}"


def _counted(kinds: Counter[str]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
