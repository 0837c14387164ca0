"""The Switch pass: now and then the weights become their average, and training goes on from there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import paddle

from ppema.averaging.precision import FLOAT32
from ppema.errors import AverageError
from ppema.ir import IR, Parameter, Program, Variable, dtype_name
from ppema.passes.average import Average, Rule
from ppema.passes.ema_graph import divides


@dataclass(frozen=True)
class SwitchPass:
    """Make a train program overwrite its weights by an average, as Switch EMA does (Li et al. 2024, arXiv:2402.09240).

    After each optimizer step whose number is a multiple of `every`, each averaged variable θ becomes θ + mix·(s - θ),
    BatchNorm's statistics included where they are averaged; where they are not, training has to move them to those of the new
    weights. With mix = 1, θ becomes the shadow s bit for bit: Keras's `ema_overwrite_frequency`. The optimizer's own state
    stays as it is, but for the master weights of half parameters.

    An average that is updated every k steps overwrites at the first of its updates from each such step on, since between them
    it is behind the weights; one that begins later than with the first step does so once it has begun.

    Apply it after the updates of all averages, so that each of them sees the weights that the optimizer made.
    """

    every: int
    mix: float = 1.0

    def __post_init__(self) -> None:
        if not (isinstance(self.every, int) and self.every >= 1 and 0 < self.mix <= 1):
            raise ValueError(f"expected overwrite_every >= 1 and overwrite_mix in (0, 1], got {self.every!r} and {self.mix!r}")
        if self.mix < FLOAT32[0]:
            raise ValueError(f"overwrite_mix: expected a number >= {FLOAT32[0]:.2g}, as float32 has them, got {self.mix!r}")

    def first(self, made: Rule) -> int:
        """The first step that an average made by `made` overwrites after."""
        due = (made.begin // self.every + 1) * self.every
        return -(-due // made.update_every) * made.update_every

    def apply(
        self,
        ir: IR,
        main: Program,
        startup: Program,
        made: Rule,
        average: Average,
        parameters: Sequence[Parameter],
        when: Variable | None = None,
    ) -> None:
        """Append to `main`. made: the pass that made `average`; parameters: those that it covers; when: as for `EmaPass.apply`.

        Raises AverageError where `every` is less than the average's own interval.
        """
        if self.every < made.update_every:
            raise AverageError(
                f"overwrite_every is {self.every} and update_every {made.update_every}: the average would overwrite weights "
                "that it has not seen; let overwrite_every be at least as long"
            )
        with paddle.static.program_guard(main, startup), ir.update_section(main):
            # What the model's own branches write has to be written before.
            step = paddle.cast(ir.after_branches(main, paddle.cast(average.step, "float64")), "int64")
            since = paddle.remainder(step, paddle.full([], self.every, "int64"))
            due = paddle.logical_and(divides(made.update_every, step), since < paddle.full([], made.update_every, "int64"))
            due = paddle.logical_and(due, step >= paddle.full([], made.first, "int64"))
            if when is not None:
                due = paddle.logical_and(due, paddle.reshape(when, []))
            masters = ir.master_weights(main)

            def overwrite() -> None:
                for parameter in parameters:
                    _, master = masters.get(parameter.name, ("", None))
                    self._overwrite(ir, parameter.variable, master, average.shadows[parameter.name])

            paddle.static.nn.cond(due, overwrite, None)

    def _overwrite(self, ir: IR, weight: Variable, master: Variable | None, shadow: Variable) -> None:
        """Append weight += mix·(shadow - weight); for a half type in float32, on its master weight where there is one."""
        if master is None and dtype_name(weight) == dtype_name(shadow) and self.mix != 1:
            ir.append_lerp(weight, shadow, paddle.full([], self.mix, shadow.dtype))
            return
        value = shadow
        if self.mix != 1:
            wide = paddle.cast(weight, shadow.dtype) if master is None else master
            value = wide + (shadow - wide) * paddle.full([], self.mix, shadow.dtype)
        if master is not None:
            assign(value, master)
        same = dtype_name(weight) == dtype_name(value)
        assign(value if same else paddle.cast(value, weight.dtype), weight)


def assign(value: Variable, target: Variable) -> None:
    """Append target = value; Paddle would also make a target that is trained as constant as a value that is not."""
    before = target.stop_gradient
    paddle.assign(value, output=target)
    target.stop_gradient = before
