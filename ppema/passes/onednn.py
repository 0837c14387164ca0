"""The oneDNN pass: convolutions on a CPU by oneDNN's kernels, which are several times as fast as Paddle's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ppema.ir import Program, Variable, backend
from ppema.passes.placement import Placement
from ppema.passes.target import Pass, TrainProgram

# What oneDNN computes. Only operations whose values and gradients were compared with Paddle's own (docs/onednn.md tells how):
# all others stay as they are, so that one which fails under oneDNN, or is slower there, hinders nothing.
CONVOLUTIONS = ("conv2d", "depthwise_conv2d", "conv3d")
KINDS = frozenset({*CONVOLUTIONS, *(f"{kind}_grad" for kind in CONVOLUTIONS)})


@dataclass(frozen=True)
class OnednnPass(Pass):
    """Let oneDNN compute the operations `kinds` of a finished program, forward and backward.

    Beside them, what Paddle computes slowly for no reason is replaced (`IR.quicken`): adding the bias of a convolution, and the
    gradient of max pooling.

    Takes any program: test programs, and train programs once they hold the backward pass and all updates. Replaces each
    operation by one of the same meaning, so that all values stay what they were but for rounding. Nothing is rewritten before
    gradients are built, and so they are Paddle's own. Programs that are to be exported are left out by whoever applies it.
    """

    name: ClassVar[str] = "onednn"
    kinds: Collection[str] = KINDS
    whole: ClassVar[bool] = True

    def apply(self, target: TrainProgram) -> Placement:
        fetched = [target.loss, *([target.guard.finite] if target.guard else [])]
        placement = target.placement = self.place(target.main, fetched)
        return placement

    def place(self, program: Program, fetched: Sequence[Variable]) -> Placement:
        """Change `program`, of whatever purpose, in place. fetched: the variables of it that runs will ask for."""
        ir = backend()
        replaced = ir.quicken(program, fetched)
        last = ir.channels_last(program)
        placed = Counter() if last else ir.place_on_onednn(program, self.kinds, fetched)
        native = Counter(op.kind for op in ir.operations(program) if "conv" in op.kind and not op.kind.startswith("onednn_op."))
        return Placement(placed, native, replaced, last)
