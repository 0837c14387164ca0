"""Averages made when a run is over: built from its snapshots or checkpoints, measured, and written as files of weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import paddle

from ppema.checkpoint.best import wants_less
from ppema.checkpoint.paths import checkpoints_of, output_of
from ppema.config import DEFAULT_BATCHES, SAFETENSORS, Config
from ppema.errors import CheckpointError, PpemaError, TrainingError
from ppema.evaluation.prepared import prepare_evaluation
from ppema.posthoc.candidates import Bench, Measured, far_off
from ppema.posthoc.combine import PostHoc, mean_of
from ppema.posthoc.grid import golden_section, grid
from ppema.posthoc.lengths import BETWEEN, Kind, Length, length, parse
from ppema.posthoc.report import Report, write_report
from ppema.posthoc.snapshots import snapshots_of
from ppema.weights.file import write_weights

POINTS = 9  # lengths that a search tries by default
MOST_POINTS = 10_000  # each is an evaluation


@dataclass(frozen=True)
class Given:
    """These lengths, from snapshots: `text` lists them with commas between. Each is written as a file of weights."""

    kind: Kind
    text: str

    def __post_init__(self) -> None:
        _one_of("kind", self.kind, get_args(Kind))

    def __str__(self) -> str:
        return self.kind


@dataclass(frozen=True)
class Search:
    """The length with the best metric, from snapshots. The winner is written.

    method: "grid" tries `points` lengths from the least to the greatest of `between` ("0.02,0.25"; None: a range that is
    usual), "golden" closes in on the best by golden sections.
    """

    kind: Kind
    method: Literal["grid", "golden"]
    between: str | None = None
    points: int = POINTS

    def __post_init__(self) -> None:
        _one_of("kind", self.kind, get_args(Kind))
        _one_of("method", self.method, ("grid", "golden"))
        if not 2 <= self.points <= MOST_POINTS:
            raise PpemaError(f"--points: expected an integer from 2 to {MOST_POINTS}, got {self.points}")

    def __str__(self) -> str:
        return f"{self.method}-{self.kind}"


@dataclass(frozen=True)
class LastCheckpoints:
    """The uniform mean of the raw weights of the last `count` checkpoints."""

    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise PpemaError(f"--last-checkpoints: expected 1 or more, got {self.count}")

    def __str__(self) -> str:
        return f"last-{self.count}"


def _one_of(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise PpemaError(f"{name}: expected {' or '.join(known)}, got {value!r}")


Request = Given | Search | LastCheckpoints
Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """report: the table; files: the weights that were written."""

    report: Report
    files: list[Path]


def average(
    config: Config,
    wanted: Request,
    *,
    step: int | None = None,
    metric: str | None = None,
    recalibrate: int = DEFAULT_BATCHES,
    name: str | None = None,
    say: Say = lambda line: None,
) -> Outcome:
    """Build what is wanted from the run of `config`, measure it over data.eval, and write weights, table and figure.

    step: of the run, for averages from snapshots: from the first one to the last (default); metric: that decides (default:
    train.monitor's, or the first of `metrics`); recalibrate: batches of training data on which BatchNorm's statistics are
    taken anew for each candidate, 0 for the averages' own, where they cover them; name: of the files in <output>/averages;
    say: is told every result as it comes.

    Raises PpemaError for options that make no sense, CheckpointError for snapshots or checkpoints that are missing, damaged or
    another model's, TrainingError where nothing can be measured or written; ConfigError, DataError and SetupError as ever.
    """
    if recalibrate < 0:
        raise PpemaError(f"--recalibrate-batches: expected 0 or more batches, got {recalibrate}")
    work = _Work(config, wanted, step, name, say)
    with closing(prepare_evaluation(config)) as run, paddle.static.scope_guard(run.scope):
        deciding, less = _metric(config, metric, run.model.test.measures)
        with closing(Bench(run, metric=deciding, less=less, batches=recalibrate, say=say)) as bench:
            files = work.go(bench)
    return Outcome(work.report(bench), files)


class _Work:
    """What is to be built, with everything that can be wrong about it found before a model is."""

    def __init__(self, config: Config, wanted: Request, step: int | None, name: str | None, say: Say):
        self._wanted = wanted
        self._folder = output_of(config) / "averages"
        if isinstance(wanted, LastCheckpoints):
            if step is not None:
                raise PpemaError("--step: it goes with averages from snapshots, not with --last-checkpoints")
            self._checkpoints = checkpoints_of(config).newest(wanted.count)
            self._step = self._checkpoints[-1].manifest.state.step
        else:
            snapshots = snapshots_of(config).until(step)
            self._posthoc = PostHoc(snapshots, step)
            self._step = self._posthoc.step
            self._lengths = _lengths(wanted, self._posthoc)
            if snapshots[-1].step < self._step:
                say(f"step {self._step} has no snapshot: what came after step {snapshots[-1].step} is not in its averages")
        self._name = name or _default_name(wanted, step)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", self._name):
            raise PpemaError(f"--name: expected a name made of letters, digits, '.', '_', '+' and '-', got {self._name!r}")

    def go(self, bench: Bench) -> list[Path]:
        """Measure, and write the weights."""
        wanted = self._wanted
        if isinstance(wanted, LastCheckpoints):
            measured = bench.measure(f"last {wanted.count} checkpoints", None, mean_of(self._checkpoints))
            return [self._write(self._name, measured)]
        if isinstance(wanted, Given):
            several = len(self._lengths) > 1
            found = [(each, self._measure(bench, each)) for each in self._lengths]
            good = [(each, measured) for each, measured in found if not far_off(measured.row.error)]
            if not good:
                raise CheckpointError(
                    f"{self._folder.parent / 'snapshots'}: those up to step {self._step} can not make {wanted.kind} "
                    f"{wanted.text} (profile error {found[-1][1].row.error:.2f}): ask for a longer average, a snapshot's step, "
                    "or train with more snapshots"
                )
            return [self._write(f"{self._name}-{_in_a_name(each.text)}" if several else self._name, m) for each, m in good]
        low, high = (each.value for each in self._lengths)
        if wanted.method == "grid":
            for value in grid(low, high, wanted.points):
                self._measure(bench, length(wanted.kind, value))
        else:
            golden_section(
                lambda value: bench.cost(self._measure(bench, length(wanted.kind, value)).row), low, high, wanted.points
            )
        if bench.best is None:
            raise TrainingError(f"there is no best candidate: of each, {bench.metric} is not a number or the profile far off")
        return [self._write(self._name, bench.best)]

    def report(self, bench: Bench) -> Report:
        """The table of what was measured, written as a file and drawn."""
        kind = None if isinstance(self._wanted, LastCheckpoints) else self._wanted.kind
        rows = sorted(bench.rows, key=lambda row: row.length or 0.0)
        made = Report(self._name, kind, self._step, bench.metric, rows, bench.best and bench.best.row)
        write_report(self._folder, made)
        return made

    def _measure(self, bench: Bench, wanted: Length) -> Measured:
        return bench.measure(str(wanted), wanted.value, self._posthoc.build(wanted.shape, str(wanted), bench.replaced))

    def _write(self, name: str, measured: Measured) -> Path:
        file = self._folder / f"{name}{SAFETENSORS}"
        write_weights(file, measured.arrays, step=self._step, what=measured.what)
        return file


def _lengths(wanted: Given | Search, posthoc: PostHoc) -> list[Length]:
    """The lengths that are given, or the least and the greatest to search between. Raises PpemaError."""
    if isinstance(wanted, Given):
        return parse(wanted.kind, f"--{wanted.kind.replace('_', '-')}", wanted.text, posthoc.horizon)
    between = parse(wanted.kind, "--between", wanted.between or BETWEEN[wanted.kind], posthoc.horizon)
    if len(between) != 2:
        raise PpemaError(f"--between: expected two lengths such as {BETWEEN[wanted.kind]!r}, got {wanted.between!r}")
    return between


def _metric(config: Config, given: str | None, measures: Iterable[str]) -> tuple[str, bool]:
    """The metric that decides, and whether less of it is better. Raises PpemaError for one that is not measured."""
    monitored = next((each.partition("/")[2] for each in config.train.monitors), "")
    first = config.metrics[0].name.rpartition(".")[2] if config.metrics else "loss"
    metric = given or monitored or first
    if metric not in measures:
        raise PpemaError(f"--metric: {metric!r} is not measured; measured are {', '.join(measures)}")
    return metric, wants_less(metric, config.train.mode if metric == monitored else None)


def _default_name(wanted: Request, step: int | None) -> str:
    text = f"{wanted}-{_in_a_name(wanted.text)}" if isinstance(wanted, Given) and "," not in wanted.text else str(wanted)
    return text if step is None else f"{text}-step-{step}"


def _in_a_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", text.replace("%", "percent")).strip("_")
