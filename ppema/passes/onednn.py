"""The oneDNN pass: convolutions on a CPU by oneDNN's kernels, which are several times as fast as Paddle's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ppema.ir import IR, Program, Variable

# What oneDNN computes. Only operations whose values and gradients were compared with Paddle's own (docs/onednn.md tells how):
# all others stay as they are, so that one which fails under oneDNN, or is slower there, hinders nothing.
CONVOLUTIONS = ("conv2d", "depthwise_conv2d", "conv3d")
KINDS = frozenset({*CONVOLUTIONS, *(f"{kind}_grad" for kind in CONVOLUTIONS)})


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


@dataclass(frozen=True)
class OnednnPass:
    """Let oneDNN compute the operations `kinds` of a finished program, forward and backward.

    Beside them, what Paddle computes slowly for no reason is replaced (`IR.quicken`): adding the bias of a convolution, and the
    gradient of max pooling.

    Takes any program: test programs, and train programs once they hold the backward pass and all updates. Replaces each
    operation by one of the same meaning, so that all values stay what they were but for rounding. Nothing is rewritten before
    gradients are built, and so they are Paddle's own. Programs that are to be exported are left out by whoever applies it.
    """

    name: str = "onednn"
    kinds: Collection[str] = KINDS

    def apply(self, ir: IR, program: Program, fetched: Sequence[Variable]) -> Placement:
        """Change `program` in place. fetched: the variables of it that runs will ask for."""
        replaced = ir.quicken(program, fetched)
        last = ir.channels_last(program)
        placed = Counter() if last else ir.place_on_onednn(program, self.kinds, fetched)
        native = Counter(op.kind for op in ir.operations(program) if "conv" in op.kind and not op.kind.startswith("onednn_op."))
        return Placement(placed, native, replaced, last)


def _counted(kinds: Counter[str]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
