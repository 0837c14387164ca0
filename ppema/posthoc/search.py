"""`ppema.average`: builds averages of a finished run, measures them, and writes files of weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import paddle

from ppema.checkpoint.best import FigureNames, has_direction, mode_of, wants_less, which_is_best
from ppema.checkpoint.paths import checkpoints_of, output_of
from ppema.config import SAFETENSORS, Config
from ppema.config.sections.normalize import Normalization, numbers_of
from ppema.errors import CheckpointError, Naming, PpemaError, TrainingError
from ppema.evaluation.evaluate import Watch, unwatched
from ppema.evaluation.prepared import prepare_evaluation
from ppema.posthoc.candidates import Bench, Measured, Row, far_off
from ppema.posthoc.combine import PostHoc, mean_of
from ppema.posthoc.grid import golden_section, grid
from ppema.posthoc.lengths import BETWEEN, Length, length, parse
from ppema.posthoc.report import Report, write_report
from ppema.posthoc.request import AverageRequest, Given, LastCheckpoints, Search, in_a_name
from ppema.posthoc.snapshots import snapshots_of
from ppema.weights.file import write_weights

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """The result of `average`. report: the table, also written as a file; files: the written files of weights."""

    report: Report
    files: list[Path]

    @property
    def rows(self) -> Sequence[Row]:
        """The results of the candidates, in the order of their lengths."""
        return self.report.rows

    @property
    def best(self) -> Row | None:
        """The row with the best metric; None if no candidate can win."""
        return self.report.best


def average(config: Config, request: AverageRequest, *, say: Say = lambda line: None, watch: Watch = unwatched) -> Outcome:
    """`ppema.api.average`, once paddle is loaded, with its arguments in `request`. Result and errors are the same.

    config: of the run; say: receives a line for each result at once; watch: receives the progress of each candidate.
    """
    work = _Work(config, request, say)
    with closing(prepare_evaluation(config)) as prepared, paddle.static.scope_guard(prepared.scope):
        metric, less = _metric(config, request.metric, prepared.figures, decides=work.several)
        batches = request.recalibrate_batches
        with closing(Bench(prepared, work.step, metric=metric, less=less, batches=batches, say=say, watch=watch)) as bench:
            files = work.go(bench, numbers_of(prepared.config.data.normalize))
    return Outcome(work.report(bench), files)


class _Work:
    """The work of a request. The constructor finds snapshots or checkpoints before any model is built.

    step: of the averages.
    """

    def __init__(self, config: Config, request: AverageRequest, say: Say):
        self._wanted = wanted = request.wanted
        self._folder = output_of(config) / "averages"
        self._name = request.file_name
        if isinstance(wanted, LastCheckpoints):
            checkpoints = checkpoints_of(config).newest(wanted.count)
            self._mean, self.step = mean_of(checkpoints), checkpoints[-1].step
        else:
            snapshots = snapshots_of(config).until(request.step)
            self._posthoc = PostHoc(snapshots, request.step)
            self.step = self._posthoc.step
            self._lengths = _lengths(wanted, self._posthoc)
            if snapshots[-1].step < self.step:
                say(f"step {self.step} has no snapshot: its averages omit the weights after step {snapshots[-1].step}")

    @property
    def several(self) -> bool:
        """Whether there are several candidates, one of which is the best."""
        return not isinstance(self._wanted, LastCheckpoints) and len(self._lengths) > 1

    def go(self, bench: Bench, numbers: Mapping[str, Normalization] | None) -> list[Path]:
        """Measure the candidates and write the weights, with the `numbers` of `data.normalize`; returns the files.

        Raises CheckpointError, TrainingError.
        """
        return [self._write(name, measured, numbers) for name, measured in self._chosen(bench)]

    def _chosen(self, bench: Bench) -> list[tuple[str, Measured]]:
        """Measure the candidates. Returns those to write, by the names of their files."""
        wanted = self._wanted
        if isinstance(wanted, LastCheckpoints):
            measured = bench.measure(f"last {wanted.count} checkpoints", None, self._mean)
            return [(self._name, measured)]
        if isinstance(wanted, Given):
            found = [(each, self._measure(bench, each)) for each in self._lengths]
            good = [(each, measured) for each, measured in found if not far_off(measured.row.error)]
            if not good:
                raise CheckpointError(
                    f"{self._folder.parent / 'snapshots'}: those up to step {self.step} can not make {wanted.kind} "
                    f"{wanted.text} (profile error {found[-1][1].row.error:.2f}): choose a longer average or the step of a "
                    "snapshot, or train with more snapshots"
                )
            return [(f"{self._name}-{in_a_name(each.text)}" if self.several else self._name, m) for each, m in good]
        low, high = (each.value for each in self._lengths)
        if wanted.method == "grid":
            for value in grid(low, high, wanted.points):
                self._measure(bench, length(wanted.kind, value))
        else:
            golden_section(
                lambda value: bench.cost(self._measure(bench, length(wanted.kind, value)).row), low, high, wanted.points
            )
        if bench.best is None:
            raise TrainingError(f"no candidate can win: the {bench.metric} of each is NaN, or its profile is far off")
        return [(self._name, bench.best)]

    def report(self, bench: Bench) -> Report:
        """Write and draw the table of measured candidates, and return it."""
        kind = None if isinstance(self._wanted, LastCheckpoints) else self._wanted.kind
        rows = sorted(bench.rows, key=lambda row: row.length or 0.0)
        made = Report(self._name, kind, self.step, bench.metric, rows, bench.best and bench.best.row)
        write_report(self._folder, made)
        return made

    def _measure(self, bench: Bench, wanted: Length) -> Measured:
        return bench.measure(str(wanted), wanted.value, self._posthoc.build(wanted.shape, str(wanted), bench.replaced))

    def _write(self, name: str, measured: Measured, numbers: Mapping[str, Normalization] | None) -> Path:
        file = self._folder / f"{name}{SAFETENSORS}"
        write_weights(file, measured.arrays, step=self.step, what=measured.what, numbers=numbers)
        return file


def _lengths(wanted: Given | Search, posthoc: PostHoc) -> list[Length]:
    """The given lengths, or the least and the greatest length of a search. Raises PpemaError."""
    if isinstance(wanted, Given):
        return parse(wanted.kind, wanted.kind, wanted.text, posthoc.horizon)
    between = parse(wanted.kind, "between", wanted.between, posthoc.horizon)
    if len(between) != 2:
        said = "{between}: expected two lengths such as {!r}, got {!r}"
        raise PpemaError(Naming(said, BETWEEN[wanted.kind], wanted.between))
    return between


def _metric(config: Config, given: str | None, figures: FigureNames, *, decides: bool) -> tuple[str, bool]:
    """The deciding metric, and whether less of it is better. decides: whether there are several candidates.

    Raises PpemaError for a metric that is no number that is measured, or that decides without a direction.
    """
    train = config.train
    monitored = next((each.partition("/")[2] for each in train.monitors), "")
    first = next((each for each in figures.numbers if each.partition(".")[0] != "loss"), "loss")
    metric = given or monitored or first
    if fault := figures.fault(metric):
        raise PpemaError(Naming("{metric}: {}", fault))
    mode = mode_of(metric, train.monitors, train.mode)
    if decides and mode is None and not has_direction(metric):
        if train.monitors and not any(each.partition("/")[2] == metric for each in train.monitors):
            said = "{metric}: is {!r} best at its max or its min? Set train.monitor to raw/{} and train.mode to max or min"
            raise PpemaError(Naming(said, metric, metric))
        with config.at("train"):
            raise which_is_best([metric])
    return metric, wants_less(metric, mode)
