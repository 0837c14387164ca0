"""The update of several averages by one C++ operation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import paddle

from ppema.averaging.expression import recorded
from ppema.averaging.shards import Piece
from ppema.ir import IR, NativeOp, Program, Variable
from ppema.passes.average import Average
from ppema.passes.ema_graph import GRAPH, count_after, decay, steps_since

INPUT = "input"  # in place of a decay's expression: operations of the program compute the decay


@dataclass(frozen=True)
class AverageInputs:
    """The inputs and attributes of one update of several averages; native/average.cc describes them."""

    values: Sequence[Variable]
    state: Sequence[Variable]
    scalars: Sequence[Variable]
    layout: Sequence[int]
    decays: Sequence[str]


def append_update(ir: IR, main: Program, averages: Sequence[Average], when: Variable | None) -> None:
    """Append one operation that updates every average to the default main program, `main`. when: as `TrainProgram.when`.

    The operation reads a weight once for all averages that cover it, or that cover the same piece of it.
    """
    made = inputs_of(ir, main, averages, when)
    inputs = {"values": made.values, "state": made.state, "scalars": made.scalars}
    attributes = {"conditional": when is not None, "layout": list(made.layout), "decays": list(made.decays)}
    ir.append_native_op(NativeOp("ppema_average", inputs, attributes=attributes, written=("state",)))


def inputs_of(
    ir: IR,
    main: Program,
    averages: Sequence[Average],
    when: Variable | None,
    first: Sequence[Variable] = (),
    late: bool = False,
) -> AverageInputs:
    """The inputs of an update, and the operations that compute them.

    first: variables that come first among the values. late: whether the update comes after the model's branches anyway.
    """
    places: dict[tuple[str, Piece | None], int] = {(each.name, None): index for index, each in enumerate(first)}
    values = list(first)
    state: list[Variable] = []
    scalars: list[Variable] = [] if when is None else [when]
    layout: list[int] = []
    decays: list[str] = []
    for average in averages:
        rule = average.rule
        for name, value in average.followed.items():
            if (place := (name, average.cuts.get(name))) not in places:
                places[place] = len(values)
                values.append(value)
        indices = [places[name, average.cuts.get(name)] for name in average.followed]
        switches = (int(rule.bias_correction), int(bool(average.rests)))
        layout += [rule.first, rule.update_every, *switches, len(indices), *indices]
        state += [average.step, average.total, *(average.shadows[name] for name in average.followed), *average.rests.values()]
        expression = recorded(rule.schedule, rule.interval)
        if expression is None:
            happens = None if when is None else paddle.reshape(when, [])
            scalars.append(decay(rule, steps_since(rule, count_after(average, happens))))
        decays.append(expression or INPUT)
    if any(piece is not None for _, piece in places):
        for (_, piece), value in zip(places, values, strict=True):
            layout += (0, math.prod(value.shape)) if piece is None else (piece.begin, piece.size)
    if not late:
        # Branches of the model write some of the values: this input makes the operation wait for them.
        scalars.append(ir.after_branches(main, GRAPH.constant(0.0)))
    return AverageInputs(values, state, scalars, layout, decays)
