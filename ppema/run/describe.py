"""What a config builds, as tables of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ppema.ir import Parameter, backend
from ppema.run.initial import Restored
from ppema.run.setup import TrainingRun
from ppema.schedules import rates


@dataclass(frozen=True)
class Table:
    """A heading, the names of the columns, and the rows."""

    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[object, ...]]


_FORM = ("name", "in the model", "shape", "type")


def describe(run: TrainingRun, restored: Restored | None = None) -> list[Table]:
    """The variables, what they begin with where that is `restored`, what each average covers, memory, programs, kernels and
    length of a run that is ready to start.
    """
    averages = [_average(run, name) for name in run.programs.averages]
    initial = [_initial(run, restored)] if restored else []
    return [_variables(run), *initial, *averages, _memory(run), _programs(run), _kernels(run), _length(run), _rates(run)]


def _variables(run: TrainingRun) -> Table:
    written = {name for op in backend().operations(run.programs.train) for name in op.writes}
    trainable = {parameter.name for parameter in backend().parameters(run.programs.train) if parameter.trainable}
    rows, places = [], _places(run)
    for parameter in run.programs.model.parameters:
        kind = "trained" if parameter.name in trainable else "statistic" if parameter.name in written else "frozen"
        rows.append((*_form(parameter, places), kind))
    return Table("Variables", (*_FORM, "kind"), rows)


def _initial(run: TrainingRun, restored: Restored) -> Table:
    places = _places(run)
    rows = [(name or "-", places.get(name, ""), done, source) for name, done, source in restored.rows()]
    return Table(f"Initial values from {restored.source}", ("name", "in the model", "init_from", "in the source"), rows)


def _average(run: TrainingRun, name: str) -> Table:
    done = {"average": "yes", "recalibrate": "measured", "leave": "no"}
    places = _places(run)
    rows = [(*_form(each.parameter, places), done[each.how], each.rule) for each in run.programs.choices[name]]
    return Table(f"Average {name}", (*_FORM, "averaged", "by which rule"), rows)


def _form(parameter: Parameter, places: Mapping[str, str]) -> tuple[str, ...]:
    shape = "×".join(map(str, parameter.shape)) or "scalar"
    return parameter.name, places.get(parameter.name, ""), shape, parameter.dtype


def _places(run: TrainingRun) -> dict[str, str]:
    return {name: place for place, name in run.programs.model.structured.items()}


def _memory(run: TrainingRun) -> Table:
    """What `precision: compensated` costs an average stands in a row of its own."""
    rests = {f"average-{name}": set(average.rest_of.values()) for name, average in run.programs.averages.items()}
    rows = []
    for part, arrays in run.read().items():
        rest = rests.get(part, set())
        rows.append((part, *_size([array for name, array in arrays.items() if name not in rest])))
        if rest:
            rows.append((f"{part}: what rounding lost (precision: compensated)", *_size([arrays[name] for name in rest])))
    return Table("State", ("part", "variables", "numbers", "MiB"), rows)


def _size(arrays: Sequence[np.ndarray]) -> tuple[object, ...]:
    numbers, size = sum(array.size for array in arrays), sum(array.nbytes for array in arrays)
    return len(arrays), f"{numbers:,}", f"{size / 2**20:.2f}"


def _programs(run: TrainingRun) -> Table:
    ir, programs = backend(), run.programs
    named = {"startup": programs.startup, "train": programs.train}
    named |= {f"test {weights}": test.program for weights, test in programs.tests.items()}
    named |= {f"recalibrate {weights}": each.program for weights, each in programs.recalibrations.items()}
    rows = []
    for name, program in named.items():
        operations = list(ir.operations(program))
        switches = [op.is_test for op in operations if op.is_test is not None]
        mode = f"{sum(switches)} of {len(switches)}" if switches else "-"
        rows.append((name, len(operations), mode))
    return Table("Programs", ("program", "operations", "switched to test"), rows)


def _kernels(run: TrainingRun) -> Table:
    return Table("Kernels", ("oneDNN",), [(run.kernels,)])


def _length(run: TrainingRun) -> Table:
    rows = [
        ("training samples", run.train_loader.samples),
        ("evaluation samples", run.eval_loader.samples),
        ("steps per epoch", run.horizon.steps_per_epoch),
        ("steps", run.horizon.total_steps),
    ]
    return Table("Length", ("of the run", ""), rows)


def _rates(run: TrainingRun) -> Table:
    rows = [(each.where, each.step, f"{each.rate:.4g}") for each in rates(run.programs.lr, run.horizon.total_steps)]
    return Table("Learning rate", ("at", "step", "rate"), rows)
