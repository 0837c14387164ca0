"""Describes a prepared run in tables of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ppema.averaging.health import layer_groups
from ppema.ir import Parameter, backend, scope
from ppema.optimizers.schedules import rates
from ppema.passes.select import Choice
from ppema.training.initial import Restored
from ppema.training.parallel.traffic import Traffic
from ppema.training.setup import TrainingRun


@dataclass(frozen=True)
class Table:
    """A table. title: its heading; head: the names of the columns."""

    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[object, ...]]


_FORM = ("name", "in the model", "shape", "type")


# The title of the variables' table for a model of more than _FOLDED_ABOVE variables.
BY_GROUP = "Variables by layer group"
_FOLDED_ABOVE = 40


def describe(
    run: TrainingRun, restored: Restored | None = None, *, traffic: Traffic | None = None, every: bool = False
) -> list[Table]:
    """Tables of a prepared run: its length, rates, memory, passes, programs, kernels, exchange between ranks and variables.

    restored: the initial values from `init_from`, if any; traffic: what ranks exchange in a step, if known; every: a row for
    each variable, instead of one for each layer group of a large model.
    """
    initial = [_initial(run, restored)] if restored else []
    return [
        _length(run),
        _rates(run),
        _memory(run),
        _passes(run),
        _programs(run),
        _kernels(run),
        *([_traffic(traffic)] if traffic else []),
        _variables(run, every),
        *initial,
    ]


def _variables(run: TrainingRun, every: bool) -> Table:
    """The variables in the model's order, with a column for each average."""
    written = {name for op in backend().operations(run.programs.train) for name in op.writes}
    trainable = {parameter.name for parameter in backend().parameters(run.programs.train) if parameter.trainable}
    places, order = _places(run), {name: index for index, name in enumerate(run.programs.model.structured.values())}
    averages = run.programs.averages.values()
    covered = [{each.parameter.name: _covered(each) for each in average.choices} for average in averages]
    parameters = sorted(run.programs.model.parameters, key=lambda each: order.get(each.name, len(order)))
    rows, treatments = [], run.programs.treatments
    for parameter in parameters:
        name = parameter.name
        kind = "trained" if name in trainable else "statistic" if name in written else "frozen"
        treated = [str(treatments.get(name, ""))] if treatments else []
        rows.append((*_form(parameter, places), kind, *treated, *(column.get(name, "no") for column in covered)))
    head = (*_FORM, "kind", *(["group"] if treatments else []), *run.programs.averages)
    folded = not every and len(rows) > _FOLDED_ABOVE
    return Table(BY_GROUP, head, _folded(rows)) if folded else Table("Variables", head, rows)


def _folded(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The rows of variables, folded: rows of one layer group that differ only in name and shape become one."""
    groups, found = layer_groups([row[1] for row in rows if row[1]]), {}
    for name, place, shape, *rest in rows:
        found.setdefault((groups.get(place, ""), *rest), []).append((name, place, shape))
    return [
        (*each[0], *rest) if len(each) == 1 else (f"{len(each)} variables", group, "", *rest)
        for (group, *rest), each in found.items()
    ]


def _covered(choice: Choice) -> str:
    """Whether an average covers a variable. A rule other than the variable's kind is shown too."""
    if choice.how == "leave":
        return f"no: {choice.rule}"
    if choice.how == "recalibrate":
        return "measured"
    return f"yes: {choice.rule}" if choice.rule.startswith("include ") else "yes"


def _initial(run: TrainingRun, restored: Restored) -> Table:
    places = _places(run)
    rows = [(name or "-", places.get(name, ""), done, source) for name, done, source in restored.rows()]
    return Table(f"Initial values from {restored.source}", ("name", "in the model", "init_from", "in the source"), rows)


def _form(parameter: Parameter, places: Mapping[str, str]) -> tuple[str, ...]:
    shape = "×".join(map(str, parameter.shape)) or "scalar"
    return parameter.name, places.get(parameter.name, ""), shape, parameter.dtype


def _places(run: TrainingRun) -> dict[str, str]:
    return {name: place for place, name in run.programs.model.structured.items()}


def _memory(run: TrainingRun) -> Table:
    """The size of each part of the state. The lost parts kept by `precision: compensated` have a separate row."""
    rests = {f"average-{name}": set(average.rest_of.values()) for name, average in run.programs.averages.items()}
    shared, rows = {f"average-{name}": name for name in run.shards}, []
    for part, arrays in run.read().items():
        if part in shared:
            arrays |= run.shards.own(shared[part])
        rest, part = rests.get(part, set()) & arrays.keys(), f"{part}, this rank's part" if part in shared else part
        rows.append((part, *_size([array for name, array in arrays.items() if name not in rest])))
        if rest:
            rows.append((f"{part}: lost by rounding (precision: compensated)", *_size([arrays[name] for name in rest])))
    if (accumulation := run.programs.accumulation) is not None:
        sums = [scope.get(run.scope, name) for name in accumulation.state_names]
        rows.append(("within a step: sums of gradients, and statistics before it", *_size(sums)))
    return Table("State", ("part", "variables", "numbers", "MiB"), rows)


def _size(arrays: Sequence[np.ndarray]) -> tuple[object, ...]:
    numbers, size = sum(array.size for array in arrays), sum(array.nbytes for array in arrays)
    return len(arrays), f"{numbers:,}", f"{size / 2**20:.2f}"


def _programs(run: TrainingRun) -> Table:
    ir, programs = backend(), run.programs
    named = {"startup": programs.startup}
    named |= {f"train until step {each.phase.end}": each.train for each in programs.earlier}
    named |= {"train": programs.train}
    named |= {f"test {weights}": test.program for weights, test in programs.tests.items()}
    named |= {f"recalibrate {weights}": each.program for weights, each in programs.recalibrations.items()}
    rows = []
    for name, program in named.items():
        operations = list(ir.operations(program))
        switches = [op.is_test for op in operations if op.is_test is not None]
        mode = f"{sum(switches)} of {len(switches)}" if switches else "-"
        rows.append((name, len(operations), mode))
    return Table("Programs", ("program", "operations", "switched to test"), rows)


def _passes(run: TrainingRun) -> Table:
    """The passes that built the train program, in order."""
    rows = [(each.name, each.operations or "", each.result) for each in run.programs.passes]
    return Table("Passes of the train program", ("pass", "operations", "result"), rows)


def _kernels(run: TrainingRun) -> Table:
    return Table("Kernels", ("oneDNN",), [(run.kernels,)])


def _traffic(traffic: Traffic) -> Table:
    """What ranks exchange in a step. A ring moves 2(N-1)/N of the summed bytes through each of N ranks (docs/scale.md)."""
    made, rows = traffic.reduction, []
    if made is None:
        rows.append(("several ranks", f"not possible: {traffic.refused}"))
    else:
        measured = traffic.whole is not None and traffic.alone is not None
        ranks = (made.ranks,) if measured else (2, 8)
        many = "1 bucket" if made.buckets == 1 else f"{made.buckets} buckets"
        sent = ", ".join(f"{_amount(2 * (n - 1) / n * made.size)} with {n} ranks" for n in ranks)
        rows += [("summed in a step", f"{_amount(made.size)} in {many}"), ("sent by each rank", sent)]
        if traffic.whole is not None and traffic.alone is not None:
            share = max(0.0, 1 - traffic.alone / traffic.whole)
            rows += [
                ("a step", f"{1e3 * traffic.whole:.3g} ms"),
                ("a step without the sums", f"{1e3 * traffic.alone:.3g} ms"),
                ("share of the sums", f"{100 * share:.0f} %"),
            ]
    return Table("Between ranks", ("what", "value"), rows)


def _amount(size: float) -> str:
    """Bytes in a readable unit, such as "42.70 MiB"."""
    return f"{size / 2**20:.2f} MiB" if size >= 2**20 else f"{size / 2**10:.2f} KiB"


def _length(run: TrainingRun) -> Table:
    every = run.micro_batches.every
    rows = [
        ("training samples", run.train_loader.samples),
        ("evaluation samples", run.eval_loader.samples),
        *(
            [("samples in a step", f"{run.horizon.batch_size}: {every} micro-batches of {run.train_loader.batch_size}")]
            if every > 1
            else []
        ),
        ("steps per epoch", run.horizon.steps_per_epoch),
        ("steps", run.horizon.total_steps),
    ]
    return Table("Length", ("of the run", ""), rows)


def _rates(run: TrainingRun) -> Table:
    rows = [(each.where, each.step, f"{each.rate:.4g}") for each in rates(run.programs.lr, run.horizon.total_steps)]
    return Table("Learning rate", ("at", "step", "rate"), rows)
