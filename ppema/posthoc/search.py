"""`ppema.average`: builds averages of a finished run, measures them, and writes files of weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import paddle

from ppema.checkpoint.best import FigureNames, has_direction, mode_of, wants_less, which_is_best
from ppema.checkpoint.paths import checkpoints_of, output_of
from ppema.config import SAFETENSORS, Config
from ppema.config.horizon import Horizon
from ppema.config.sections.normalize import Normalization, numbers_of
from ppema.distributed.shared_work import by_first
from ppema.distributed.world import ALONE, World
from ppema.errors import CheckpointError, Naming, PpemaError, TrainingError
from ppema.evaluation.evaluate import Watch, unwatched
from ppema.evaluation.prepared import prepare_evaluation
from ppema.posthoc.candidates import Bench, Measured, Row, far_off
from ppema.posthoc.combine import Built, PostHoc, mean_of
from ppema.posthoc.grid import golden_section, grid
from ppema.posthoc.lengths import BETWEEN, Length, length, parse
from ppema.posthoc.report import Report, write_report
from ppema.posthoc.request import AverageRequest, Given, LastCheckpoints, Search, in_a_name
from ppema.posthoc.shared_build import built_by_first
from ppema.posthoc.snapshots import snapshots_of
from ppema.programs.same_work import check_same_work
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


def average(
    config: Config,
    request: AverageRequest,
    *,
    say: Say = lambda line: None,
    watch: Watch = unwatched,
    world: World = ALONE,
) -> Outcome:
    """`ppema.api.average`, once paddle is loaded, with its arguments in `request`. Result and errors are the same.

    config: of the run; say: receives a line for each result at once; watch: receives the progress of each candidate. world: its
    ranks share the batches of each candidate, and all get the result; rank 0 alone reads and writes the folder of the run.
    """
    check_same_work(world, "the averages", config, request.arguments)
    work = _Work(config, request, say, world)
    with closing(prepare_evaluation(config, world=world)) as prepared, paddle.static.scope_guard(prepared.scope):
        metric, less = _metric(config, request.metric, prepared.figures, decides=work.several)
        batches = request.recalibrate_batches
        with closing(Bench(prepared, work.step, metric=metric, less=less, batches=batches, say=say, watch=watch)) as bench:
            files = work.go(bench, numbers_of(prepared.config.data.normalize))
    return Outcome(work.report(bench), files)


class _Work:
    """The work of a request. The constructor finds snapshots or checkpoints before any model is built.

    step: of the averages.
    """

    def __init__(self, config: Config, request: AverageRequest, say: Say, world: World):
        self._wanted = wanted = request.wanted
        self._folder = output_of(config) / "averages"
        self._name, self._world = request.file_name, world

        self._mean: Built | None = None  # rank 0 has one of the two
        self._posthoc: PostHoc | None = None

        def read() -> bytes:
            if isinstance(wanted, LastCheckpoints):
                checkpoints = checkpoints_of(config).newest(wanted.count)
                self._mean = mean_of(checkpoints)
                return json.dumps([checkpoints[-1].step, checkpoints[-1].step, None]).encode()
            snapshots = snapshots_of(config).until(request.step)
            self._posthoc = made = PostHoc(snapshots, request.step)
            return json.dumps([made.step, snapshots[-1].step, asdict(made.horizon)]).encode()

        self.step, last, horizon = json.loads(by_first(world, read, "the snapshots"))
        if not isinstance(wanted, LastCheckpoints):
            self._lengths = _lengths(wanted, Horizon(**horizon))
            if last < self.step:
                say(f"step {self.step} has no snapshot: its averages omit the weights after step {last}")

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

            def mean() -> Built:
                assert self._mean is not None
                return self._mean

            measured = bench.measure(f"last {wanted.count} checkpoints", None, built_by_first(self._world, mean))
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
        if self._world.first:
            write_report(self._folder, made)
        return made

    def _measure(self, bench: Bench, wanted: Length) -> Measured:
        def build() -> Built:
            assert self._posthoc is not None
            return self._posthoc.build(wanted.shape, str(wanted), bench.replaced)

        return bench.measure(str(wanted), wanted.value, built_by_first(self._world, build))

    def _write(self, name: str, measured: Measured, numbers: Mapping[str, Normalization] | None) -> Path:
        file = self._folder / f"{name}{SAFETENSORS}"
        if self._world.first:
            write_weights(file, measured.arrays, step=self.step, what=measured.what, numbers=numbers)
        return file


def _lengths(wanted: Given | Search, horizon: Horizon) -> list[Length]:
    """The given lengths, or the least and the greatest length of a search. Raises PpemaError."""
    if isinstance(wanted, Given):
        return parse(wanted.kind, wanted.kind, wanted.text, horizon)
    between = parse(wanted.kind, "between", wanted.between, horizon)
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
