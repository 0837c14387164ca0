"""The Groups pass: learning rates, weight decays and freezing of single variables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import paddle

from ppema.ir import Operation
from ppema.passes.target import Pass, TrainProgram
from ppema.passes.treatment import Treatment


@dataclass(frozen=True)
class GroupsPass(Pass):
    """Give each variable its learning rate and weight decay, and freeze the frozen ones.

    The program must have a loss and no gradients yet. A BatchNorm with frozen weights, or with frozen statistics, normalises by
    its running statistics, which stay unchanged.

    treatments: by variable's name. All other variables are trained with the optimizer's own settings.
    waiting: names of variables that this program keeps as well, and that the program of a later phase of the run trains.
    """

    name: ClassVar[str] = "groups"
    treatments: Mapping[str, Treatment]
    waiting: frozenset[str] = frozenset()

    def apply(self, target: TrainProgram) -> str:
        parameters = target.parameters
        target.treatments = dict(self.treatments)
        for parameter in parameters:
            found = self.treatments.get(parameter.name)
            if found is None or not parameter.trainable:
                continue
            variable = parameter.variable
            if found.frozen or parameter.name in self.waiting:
                variable.stop_gradient = True
            if found.lr_scale != 1:
                variable.optimize_attr["learning_rate"] *= found.lr_scale
            if found.weight_decay is not None:
                variable.regularizer = paddle.regularizer.L2Decay(found.weight_decay)
        frozen = {name for name, each in self.treatments.items() if each.frozen}
        untrained = {each.name for each in parameters if not each.trainable}
        operations = list(target.ir.operations(target.main))
        unmoved = _unmoved(operations, untrained, frozen | self.waiting)
        target.ir.fix_statistics(target.main, unmoved)
        waiting = self.waiting | (unmoved - _unmoved(operations, untrained, frozen))
        target.waiting = tuple(each for each in parameters if each.name in waiting)
        others = len(self.treatments) - len(frozen | self.waiting)
        also = f", {len(waiting)} frozen for now" if waiting else ""
        return f"{others} variables trained otherwise, {len(frozen)} frozen{also}"


def _unmoved(operations: Iterable[Operation], untrained: set[str], frozen: set[str]) -> set[str]:
    """The statistics of the BatchNorms with frozen weights, or with frozen statistics. untrained: statistics among others."""
    found: set[str] = set()
    for op in operations:
        if "batch_norm" in op.kind:
            statistics = untrained.intersection(op.reads)
            weights = set(op.reads) - statistics
            if (weights and weights <= frozen) or statistics <= frozen:
                found |= statistics
    return found
