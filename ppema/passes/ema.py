"""The EMA passes: `EmaPass` adds the variables of one average to a train program, `UpdatePass` updates all averages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from ppema.averaging.precision import SHADOW_TYPES
from ppema.averaging.rule import Rule
from ppema.averaging.shards import Sharding
from ppema.errors import AverageError
from ppema.ir import Parameter
from ppema.ir.native import origin, why_missing
from ppema.passes import ema_graph
from ppema.passes.average import Average, rest_name, shadow_name
from ppema.passes.fused import ema_native
from ppema.passes.fused.fuse import append_step
from ppema.passes.recalibrate import moving_statistics
from ppema.passes.select import Choice, Selection, chosen
from ppema.passes.target import Pass, TrainProgram
from ppema.ranks import ONE, Ranks


@dataclass(frozen=True)
class EmaPass(Pass):
    """Add the variables of one average to a train program: a shadow s for each averaged parameter θ.

    The program must already hold its optimizer's operations: the variables that they write decide which parameters are covered.
    No existing operation changes. The shadows are saved with the program, as are the scalars t and W of `UpdatePass`.
    A shadow is float64 for a float64 parameter and float32 for any other. For a float16 or bfloat16 parameter θ is the
    optimizer's master weight if there is one, otherwise the parameter cast to float32.

    Several `ranks` share an average: each adds and updates only its piece of the shadows (`averaging/shards.py`), which holds
    the bits of that piece of the whole average. All ranks must hold the same weights.

    average: name of the average, unique in the program.
    rule: when and with which decay it is updated.
    selection: which variables it covers.
    places: place in the model by variable's name, as far as known, for the patterns of `selection`.
    ranks: those that share it; a single one keeps the whole average.
    """

    name: ClassVar[str] = "average"
    average: str
    rule: Rule
    selection: Selection = field(default_factory=Selection)
    places: Mapping[str, str] = field(default_factory=dict)
    ranks: Ranks = ONE

    def apply(self, target: TrainProgram) -> Average:
        """The new average. Raises AverageError as `declare` does, and ConfigError as `Selection.choose` does."""
        # A variable that is frozen for now is covered: its average is the variable itself, bit for bit.
        waiting = {each.name: each for each in target.waiting}
        parameters = [waiting.get(each.name, each) for each in target.parameters]
        statistics = moving_statistics(target.main) | {name for name, each in waiting.items() if not each.trainable}
        choices = self.selection.choose(parameters, {*target.written, *waiting}, statistics, self.places)
        covered, recalibrated = chosen(choices, "average"), chosen(choices, "recalibrate")
        return declare(target, self.average, self.rule, covered, recalibrated, choices, self.ranks)


def declare(
    target: TrainProgram,
    name: str,
    rule: Rule,
    parameters: Sequence[Parameter],
    recalibrated: Sequence[Parameter] = (),
    choices: Sequence[Choice] = (),
    ranks: Ranks = ONE,
) -> Average:
    """Add an average's variables to `target`, and their initial values to its startup program.

    parameters: the averaged variables. recalibrated: BatchNorm statistics whose shadow is measured later, and never updated.
    choices: how the average treats each parameter, and why.
    ranks: those that share the averaged variables; not without bias correction.

    Raises AverageError if there is no parameter, if the name is taken, if a parameter's type has no shadow, and if there are
    fewer numbers than ranks. Raises it also if a shadow begins with its parameter's initial value and the startup program gives
    none: without bias correction, and for `recalibrated`.
    """
    ir, main, startup = target.ir, target.main, target.startup
    shadow_of = _names(name, parameters, recalibrated)
    rest_of = {p.name: rest_name(shadow_of[p.name]) for p in parameters if rule.precision == "compensated"}
    sharding = None if ranks.size == 1 else _sharding(name, parameters, ranks)
    own = parameters if sharding is None else [p for p in parameters if p.name in sharding.own]
    shapes = {p.name: p.shape if sharding is None else sharding.held_shape(p.name) for p in own}
    # Named after the first shadow: two programs may share a scope and give their averages the same name.
    count, weight = (f"{next(iter(shadow_of.values()))}.{each}" for each in ("count", "weight"))
    names = {*shadow_of.values(), *rest_of.values(), count, weight}
    # Two programs with one startup program share a scope: with one name, both would update the same variables.
    for taken, which in ((ir.state_names(main), "program"), (ir.initialised(startup), "startup program")):
        clash = names.intersection(taken)
        if clash:
            raise AverageError(
                f"the {which} already has {min(clash)!r}, as the average {name!r} would name one of its own: give "
                "this average another name"
            )
    try:
        # Zero, so that the first update sets the shadow to the weights bit for bit; s + (θ - s) would round.
        initial = {p.name: 0.0 if rule.bias_correction else p for p in parameters} | {p.name: p for p in recalibrated}
        shadows = {
            p.name: ir.create_state(
                main, startup, shadow_of[p.name], shapes.get(p.name, p.shape), SHADOW_TYPES[p.dtype], initial[p.name]
            )
            for p in (*own, *recalibrated)
        }
    except KeyError as error:
        raise AverageError(f"the startup program gives {error} no initial value, with which its average begins") from error
    rests = {
        p.name: ir.create_state(main, startup, rest_of[p.name], shapes[p.name], SHADOW_TYPES[p.dtype], 0.0)
        for p in own
        if p.name in rest_of
    }
    masters = {each: held for each, held in ir.master_weights(main).items() if each in shadow_of}
    average = target.averages[name] = Average(
        name,
        rule,
        shadow_of,
        shadows,
        count=count,
        weight=weight,
        step=ir.create_state(main, startup, count, [], "int64", 0),
        total=ir.create_state(main, startup, weight, [], "float64", 0.0),
        followed={p.name: masters[p.name][1] if p.name in masters else p.variable for p in own},
        recalibrated=tuple(p.name for p in recalibrated),
        rest_of=rest_of,
        rests=rests,
        master_of={each: master for each, (master, _) in masters.items()},
        choices=tuple(choices),
        sharding=sharding,
    )
    return average


def _sharding(name: str, parameters: Sequence[Parameter], ranks: Ranks) -> Sharding:
    """How `ranks` share an average of `parameters`. Raises AverageError if one of them would hold nothing."""
    sharding = Sharding({p.name: p.shape for p in parameters}, ranks.rank, ranks.size)
    if not all(sharding.pieces(rank) for rank in range(ranks.size)):
        raise AverageError(f"the average {name!r} covers fewer numbers than there are ranks, {ranks.size}: do not shard it")
    return sharding


def _names(average: str, parameters: Sequence[Parameter], recalibrated: Sequence[Parameter]) -> dict[str, str]:
    """The shadows' names by parameter's name. Raises AverageError for a type without shadow, and for no parameters."""
    for parameter in (*parameters, *recalibrated):
        if parameter.dtype not in SHADOW_TYPES:
            known = ", ".join(SHADOW_TYPES)
            raise AverageError(f"{parameter.name} is {parameter.dtype}; averages cover {known}: exclude it")
    if not parameters:
        raise AverageError(f"there is nothing for the average {average!r} to cover")
    return {parameter.name: shadow_name(parameter.name, average) for parameter in (*parameters, *recalibrated)}


@dataclass(frozen=True)
class UpdatePass(Pass):
    """Append one update of every average to a train program, after the optimizer's operations, which make the new weights.

    The t-th update of the average of θ is
        W_t = d_t·W_{t-1} + (1 - d_t),   s_t = s_{t-1} + (1 - d_t)/W_t·(θ_t - s_{t-1})

    After every update the shadow s is the bias-corrected average itself; see `averaging/decay.py`. The shadows have no meaning
    before the first step. A run with `TrainProgram.when` False neither updates nor counts.

    The update is one C++ operation; with a fusion it is that of the whole step. Where it is missing, Paddle's own operations
    compute the update. The results differ by rounding.
    """

    name: ClassVar[str] = "update averages"

    def apply(self, target: TrainProgram) -> str | None:
        averages = list(target.averages.values())
        if target.fusion is not None and target.fusion.updates:
            return f"{append_step(target)}, {origin()}"
        if not averages:
            return None
        with target.appending():
            if why_missing() is None:
                ema_native.append_update(target.ir, target.main, averages, target.when)
                return f"{len(averages)} in one C++ operation, {origin()}"
            for average in averages:
                ema_graph.append_update(target.ir, target.main, average, target.when)
        return f"{len(averages)} by Paddle's own operations"
