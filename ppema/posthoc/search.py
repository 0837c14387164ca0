"""`ppema.average`: builds averages of a finished run, measures them, and writes files of weights."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import paddle

from ppema.checkpoint.best import FigureNames, has_direction, mode_of, wants_less, which_is_best
from ppema.checkpoint.paths import checkpoints_of, output_of
from ppema.config import DEFAULT_BATCHES, SAFETENSORS, Config
from ppema.config.sections.normalize import Normalization, numbers_of
from ppema.errors import CheckpointError, Naming, PpemaError, TrainingError
from ppema.evaluation.evaluate import Watch, unwatched
from ppema.evaluation.prepared import prepare_evaluation
from ppema.posthoc.candidates import Bench, Measured, Row, far_off
from ppema.posthoc.combine import PostHoc, mean_of
from ppema.posthoc.grid import golden_section, grid
from ppema.posthoc.lengths import BETWEEN, Kind, Length, length, parse
from ppema.posthoc.report import Report, write_report
from ppema.posthoc.snapshots import snapshots_of
from ppema.weights.file import write_weights

POINTS = 9  # the default number of lengths in a search
MOST_POINTS = 10_000  # each point is an evaluation
Method = Literal["grid", "golden"]


@dataclass(frozen=True)
class Given:
    """Averages of given lengths, from snapshots; each is written. text: the lengths, separated by commas."""

    kind: Kind
    text: str

    def __str__(self) -> str:
        return self.kind


@dataclass(frozen=True)
class Search:
    """A search for the length with the best metric, from snapshots; only the winner is written.

    between: the least and the greatest length, separated by a comma.
    """

    kind: Kind
    method: Method
    between: str
    points: int

    def __str__(self) -> str:
        return f"{self.method}-{self.kind}"


@dataclass(frozen=True)
class LastCheckpoints:
    """The uniform mean of the raw weights of the last `count` checkpoints."""

    count: int

    def __str__(self) -> str:
        return f"last-{self.count}"


Request = Given | Search | LastCheckpoints
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
    *,
    sigma_rel: float | str | Iterable[float | str] | None = None,
    half_life: str | Iterable[str] | None = None,
    search: Method | None = None,
    last_checkpoints: int | None = None,
    over: Kind | None = None,
    between: str | Iterable[float | str] | None = None,
    points: int | None = None,
    step: int | None = None,
    metric: str | None = None,
    recalibrate_batches: int = DEFAULT_BATCHES,
    name: str | None = None,
    say: Say = lambda line: None,
    watch: Watch = unwatched,
) -> Outcome:
    """`ppema.api.average`, once paddle is loaded. Other arguments, result and errors are the same.

    config: of the run; watch: receives the progress of each candidate.
    """
    given = {"sigma_rel": sigma_rel, "half_life": half_life, "search": search, "last_checkpoints": last_checkpoints}
    options = {"over": over, "between": between, "points": points}
    wanted = _request({key: value for key, value in given.items() if value is not None}, options)
    if step is not None:
        _check_integer("step", step, 1)
    _check_integer("recalibrate_batches", recalibrate_batches, 0, "0 or more batches")
    work = _Work(config, wanted, step, name, say)
    with closing(prepare_evaluation(config)) as prepared, paddle.static.scope_guard(prepared.scope):
        deciding, less = _metric(config, metric, prepared.figures, decides=work.several)
        with closing(
            Bench(prepared, work.step, metric=deciding, less=less, batches=recalibrate_batches, say=say, watch=watch)
        ) as bench:
            files = work.go(bench, numbers_of(prepared.config.data.normalize))
    return Outcome(work.report(bench), files)


def _request(given: Mapping[str, Any], options: Mapping[str, Any]) -> Request:
    """The Request of a call. given, options: arguments of `average`; `given` has those that are not None. Raises PpemaError."""
    if len(given) != 1:
        raise PpemaError(Naming("give one of {sigma_rel}, {half_life}, {search} and {last_checkpoints}, not {}", len(given)))
    ((key, value),) = given.items()
    for option, other in options.items():
        if other is not None and key != "search":
            raise PpemaError(Naming(f"{{{option}}}: it goes with {{search}}"))
    if key == "last_checkpoints":
        _check_integer(key, value, 1)
        return LastCheckpoints(value)
    if key != "search":
        return Given("sigma_rel" if key == "sigma_rel" else "half_life", _listed(value))
    _one_of("search", value, get_args(Method))
    over, between, points = (options[each] for each in ("over", "between", "points"))
    kind = _one_of("over", "sigma_rel" if over is None else over, get_args(Kind))
    points = POINTS if points is None else points
    _check_integer("points", points, 2, f"an integer from 2 to {MOST_POINTS}", MOST_POINTS)
    return Search(kind, value, BETWEEN[kind] if between is None else _listed(between), points)


def _listed(value: object) -> str:
    """One length or several, separated by commas."""
    return ",".join(map(str, value)) if isinstance(value, Iterable) and not isinstance(value, str) else str(value)


def _check_integer(argument: str, value: object, least: int, said: str = "1 or more", most: float = math.inf) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise PpemaError(Naming(f"{{{argument}}}: expected {{}}, got {{!r}}", said, value))


def _one_of(argument: str, value: Any, known: Sequence[str]) -> Any:
    if value not in known:
        raise PpemaError(Naming(f"{{{argument}}}: expected {{}}, got {{!r}}", " or ".join(known), value))
    return value


class _Work:
    """The work of a request. The constructor checks snapshots, checkpoints and arguments before any model is built.

    step: of the averages.
    """

    def __init__(self, config: Config, wanted: Request, step: int | None, name: str | None, say: Say):
        self._wanted = wanted
        self._folder = output_of(config) / "averages"
        if isinstance(wanted, LastCheckpoints):
            if step is not None:
                raise PpemaError(Naming("{step}: it goes with averages from snapshots, not with {last_checkpoints}"))
            checkpoints = checkpoints_of(config).newest(wanted.count)
            self._mean, self.step = mean_of(checkpoints), checkpoints[-1].step
        else:
            snapshots = snapshots_of(config).until(step)
            self._posthoc = PostHoc(snapshots, step)
            self.step = self._posthoc.step
            self._lengths = _lengths(wanted, self._posthoc)
            if snapshots[-1].step < self.step:
                say(f"step {self.step} has no snapshot: its averages omit the weights after step {snapshots[-1].step}")
        self._name = name or _default_name(wanted, step)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", self._name):
            said = "{name}: expected a name made of letters, digits, '.', '_', '+' and '-', got {!r}"
            raise PpemaError(Naming(said, self._name))

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
            return [(f"{self._name}-{_in_a_name(each.text)}" if self.several else self._name, m) for each, m in good]
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


def _default_name(wanted: Request, step: int | None) -> str:
    text = f"{wanted}-{_in_a_name(wanted.text)}" if isinstance(wanted, Given) and "," not in wanted.text else str(wanted)
    return text if step is None else f"{text}-step-{step}"


def _in_a_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", text.replace("%", "percent")).strip("_")
