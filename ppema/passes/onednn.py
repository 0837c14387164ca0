"""The oneDNN pass: oneDNN computes convolutions on a CPU, several times as fast as Paddle's own kernels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ppema.ir import Program, Variable, backend
from ppema.passes.placement import Placement
from ppema.passes.target import Pass, TrainProgram

# Operations for oneDNN: only those whose values and gradients were compared with Paddle's own (docs/onednn.md). All others keep
# Paddle's kernels: some of them fail under oneDNN, or are slower.
CONVOLUTIONS = ("conv2d", "depthwise_conv2d", "conv3d")
KINDS = frozenset({*CONVOLUTIONS, *(f"{kind}_grad" for kind in CONVOLUTIONS)})


@dataclass(frozen=True)
class OnednnPass(Pass):
    """Let oneDNN compute the operations `kinds` of a complete program, forward and backward.

    The pass also replaces operations whose Paddle kernels are slow without need (`IR.quicken`): the addition of a convolution's
    bias, the gradient of max pooling, and in train programs some parts of layers.

    It applies to test programs, and to train programs with the backward pass and all updates. Each replacement has the same
    meaning, so values differ by rounding only. Gradients are Paddle's own, since they are built before any replacement. The
    caller must not apply the pass to programs for export.

    kinds: kinds of operations, as in `Operation.kind`.
    """

    name: ClassVar[str] = "onednn"
    kinds: Collection[str] = KINDS
    whole: ClassVar[bool] = True

    def apply(self, target: TrainProgram) -> Placement:
        fetched = [target.loss, *([target.guard.finite] if target.guard else [])]
        placement = target.placement = self.place(target.main, fetched)
        return placement

    def place(self, program: Program, fetched: Sequence[Variable]) -> Placement:
        """Change any `program` in place. fetched: its variables that runs will fetch; their operations stay as they are."""
        ir = backend()
        replaced = ir.quicken(program, fetched)
        last = ir.channels_last(program)
        placed = Counter() if last else ir.place_on_onednn(program, self.kinds, fetched)
        native = Counter(op.kind for op in ir.operations(program) if "conv" in op.kind and not op.kind.startswith("onednn_op."))
        return Placement(placed, native, replaced, last)
