"""The Switch pass: at intervals the average overwrites the weights, and training continues from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import paddle

from ppema.averaging.precision import FLOAT32
from ppema.averaging.rule import Rule
from ppema.errors import AverageError
from ppema.ir import IR, Variable, dtype_name
from ppema.passes.ema_graph import append_lerp, divides
from ppema.passes.target import Pass, TrainProgram, assign


@dataclass(frozen=True)
class SwitchPass(Pass):
    """Make a train program overwrite its weights by an average, as Switch EMA does (Li et al. 2024, arXiv:2402.09240).

    After each optimizer step whose number is a multiple of `every`, each averaged variable θ becomes θ + mix·(s - θ). With
    mix = 1, θ becomes the shadow s bit for bit: Keras's `ema_overwrite_frequency`. Averaged BatchNorm statistics are
    overwritten too. Statistics that are not averaged move to those of the new weights by training. The optimizer's state stays
    unchanged, except for the master weights of half parameters.

    An average with an interval of k steps overwrites at its first update from such a step on, since between two updates it is
    behind the weights. An average that begins later overwrites only after it has begun.

    Apply the pass after the updates of all averages: each of them then observes the weights that the optimizer made.

    average: name of the average. every: number of steps, at least 1. mix: share of the average in (0, 1].

    Raises ValueError for a setting out of range, and for a mix that float32 rounds to 0.
    """

    name: ClassVar[str] = "switch"
    average: str
    every: int
    mix: float = 1.0

    def __post_init__(self) -> None:
        if not (isinstance(self.every, int) and self.every >= 1 and 0 < self.mix <= 1):
            raise ValueError(f"expected overwrite_every >= 1 and overwrite_mix in (0, 1], got {self.every!r} and {self.mix!r}")
        if self.mix < FLOAT32[0]:
            raise ValueError(f"overwrite_mix: expected a number >= {FLOAT32[0]:.2g}, as float32 has them, got {self.mix!r}")

    def first(self, rule: Rule) -> int:
        """The first step after which an average with this rule overwrites the weights."""
        due = (rule.begin // self.every + 1) * self.every
        return -(-due // rule.update_every) * rule.update_every

    def apply(self, target: TrainProgram) -> str:
        """The result in words. Raises AverageError if `every` is less than the average's own interval."""
        ir, main, average = target.ir, target.main, target.averages[self.average]
        rule = average.rule
        if self.every < rule.update_every:
            raise AverageError(
                f"overwrite_every is {self.every} and update_every {rule.update_every}: the average would overwrite weights "
                "that it has not seen; let overwrite_every be at least as long"
            )
        with target.appending():
            # The model's own branches must have written their variables before.
            step = paddle.cast(ir.after_branches(main, paddle.cast(average.step, "float64")), "int64")
            since = paddle.remainder(step, paddle.full([], self.every, "int64"))
            due = paddle.logical_and(divides(rule.update_every, step), since < paddle.full([], rule.update_every, "int64"))
            due = paddle.logical_and(due, step >= paddle.full([], rule.first, "int64"))
            if target.when is not None:
                due = paddle.logical_and(due, paddle.reshape(target.when, []))
            masters = ir.master_weights(main)
            weights = {each.name: each.variable for each in target.parameters if each.name in average.followed}

            def overwrite() -> None:
                for name in average.followed:
                    _, master = masters.get(name, ("", None))
                    self._overwrite(ir, weights[name], master, average.shadows[name])

            paddle.static.nn.cond(due, overwrite, None)
        share = "" if self.mix == 1 else f", by {self.mix:.6g}"
        return f"weights become the average {self.average!r} every {self.every} steps{share}"

    def _overwrite(self, ir: IR, weight: Variable, master: Variable | None, shadow: Variable) -> None:
        """Append weight += mix·(shadow - weight). A half weight is computed in float32, from its master weight if any."""
        if master is None and dtype_name(weight) == dtype_name(shadow) and self.mix != 1:
            append_lerp(ir, weight, shadow, paddle.full([], self.mix, shadow.dtype))
            return
        value = shadow
        if self.mix != 1:
            wide = paddle.cast(weight, shadow.dtype) if master is None else master
            value = wide + (shadow - wide) * paddle.full([], self.mix, shadow.dtype)
        if master is not None:
            assign(value, master)
        same = dtype_name(weight) == dtype_name(value)
        assign(value if same else paddle.cast(value, weight.dtype), weight)
