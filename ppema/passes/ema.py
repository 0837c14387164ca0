"""The EMA pass: appends averages' updates to a train program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import paddle

from ppema.averaging.precision import SHADOW_TYPES
from ppema.errors import AverageError
from ppema.ir import IR, Parameter, Program, Variable
from ppema.ir.native import why_missing
from ppema.passes import ema_graph, ema_native
from ppema.passes.average import Average, Rule, rest_name, shadow_name


@dataclass(frozen=True)
class EmaPass(Rule):
    """Make a train program update one average of its weights.

    Takes a program that already holds its optimizer's ops, so that the update sees the step's new weights. Adds, for each
    averaged parameter θ, a shadow s that is saved with the program, the scalars t and W, and the ops of
        W_t = d_t·W_{t-1} + (1 - d_t),   s_t = s_{t-1} + (1 - d_t)/W_t·(θ_t - s_{t-1})
    so that after every update the shadow is the bias-corrected average itself; see `averaging/decay.py`. Nothing that was
    in the program before is changed. Before the first step the shadows mean nothing.

    Shadows are float32, float64 of float64 parameters. Of a float16 or bfloat16 parameter θ is the optimizer's master weight,
    where it keeps one, else the parameter cast to float32.
    """

    def apply(
        self,
        ir: IR,
        main: Program,
        startup: Program,
        parameters: Sequence[Parameter],
        recalibrated: Sequence[Parameter] = (),
        when: Variable | None = None,
    ) -> Average:
        """Append to `main`, and the initial values to `startup`: `declare`, then `append_updates` of this one average."""
        average = self.declare(ir, main, startup, parameters, recalibrated)
        append_updates(ir, main, startup, [(self, average)], when)
        return average

    def declare(
        self, ir: IR, main: Program, startup: Program, parameters: Sequence[Parameter], recalibrated: Sequence[Parameter] = ()
    ) -> Average:
        """Add the average's variables to `main`, and their initial values to `startup`.

        parameters: what is averaged; recalibrated: the BatchNorm statistics that get a shadow for what is measured later, and
        no update.

        Raises AverageError where there is no parameter, the name is taken, a parameter is of a type that has no shadow, or,
        without bias correction, `startup` gives a parameter no initial value.
        """
        shadow_of = self._names(parameters, recalibrated)
        rest_of = {p.name: rest_name(shadow_of[p.name]) for p in parameters if self.precision == "compensated"}
        # By the first shadow's name, as two programs may share a scope and call their averages alike.
        count, weight = (f"{next(iter(shadow_of.values()))}.{each}" for each in ("count", "weight"))
        names = {*shadow_of.values(), *rest_of.values(), count, weight}
        # Two programs with one startup program run in one scope: each would update the average of both.
        for taken, which in ((ir.state_names(main), "program"), (ir.initialised(startup), "startup program")):
            clash = names.intersection(taken)
            if clash:
                raise AverageError(
                    f"the {which} already has {min(clash)!r}, as the average {self.name!r} would name one of its own: give "
                    "this average another name"
                )
        try:
            # Zero, and not the initial value, so that the first update gives the weights bit for bit.
            initial = {p.name: 0.0 if self.bias_correction else p for p in parameters} | {p.name: p for p in recalibrated}
            shadows = {
                p.name: ir.create_state(main, startup, shadow_of[p.name], p.shape, SHADOW_TYPES[p.dtype], initial[p.name])
                for p in (*parameters, *recalibrated)
            }
        except KeyError as error:
            raise AverageError(f"the startup program gives {error} no initial value, with which its average begins") from error
        rests = {
            p.name: ir.create_state(main, startup, rest_of[p.name], p.shape, SHADOW_TYPES[p.dtype], 0.0)
            for p in parameters
            if p.name in rest_of
        }
        masters = {name: each for name, each in ir.master_weights(main).items() if name in shadow_of}
        return Average(
            self.name,
            shadow_of,
            shadows,
            count=count,
            weight=weight,
            step=ir.create_state(main, startup, count, [], "int64", 0),
            total=ir.create_state(main, startup, weight, [], "float64", 0.0),
            followed={p.name: masters[p.name][1] if p.name in masters else p.variable for p in parameters},
            recalibrated=tuple(p.name for p in recalibrated),
            rest_of=rest_of,
            rests=rests,
            master_of={name: master for name, (master, _) in masters.items()},
        )

    def _names(self, parameters: Sequence[Parameter], recalibrated: Sequence[Parameter]) -> dict[str, str]:
        """The shadows' names by parameter's name. Raises AverageError for what can not be averaged."""
        for parameter in (*parameters, *recalibrated):
            if parameter.dtype not in SHADOW_TYPES:
                known = ", ".join(SHADOW_TYPES)
                raise AverageError(f"{parameter.name} is {parameter.dtype}; averages cover {known}: exclude it")
        if not parameters:
            raise AverageError(f"there is nothing for the average {self.name!r} to cover")
        return {parameter.name: shadow_name(parameter.name, self.name) for parameter in (*parameters, *recalibrated)}


def append_updates(
    ir: IR,
    main: Program,
    startup: Program,
    averages: Sequence[tuple[Rule, Average]],
    when: Variable | None = None,
) -> None:
    """Append to `main` one update of each of `averages`, by the C++ operation or by Paddle's own; the two differ by rounding.

    when: a bool variable of one element, True in the runs of `main` that are an optimizer step (of gradient accumulation, say);
    None: all are.
    """
    if not averages:
        return
    with paddle.static.program_guard(main, startup), ir.update_section(main):
        if why_missing() is None:
            ema_native.append_update(ir, main, averages, when)
            return
        for rule, average in averages:
            ema_graph.append_update(ir, main, rule, average, when)
