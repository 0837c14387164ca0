"""From a config to the search space of its sweep, with every key and value checked before anything is trained."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np

from ppema.checkpoint.best import has_direction, mode_of, wants_less, which_is_best
from ppema.config import RAW, Choices, Config, Range, Sweep, load_config
from ppema.config.swept import Swept, parse_swept
from ppema.errors import ConfigError, Naming, Problem, overridden
from ppema.experiments.sweeps.search.pruned_averages import unfair_pruning
from ppema.experiments.sweeps.search.snapshots_for_lengths import overrides_for_lengths
from ppema.experiments.sweeps.search.space import DEFAULT_TRIALS, Space, grid_point, override, points_of_grid
from ppema.user_code.names import did_you_mean
from ppema.values import shown

MOST_TRIALS = 100_000
# A small grid is checked at all of its points. Otherwise one key changes at a time.
_MOST_CHECKED = 24


def space_of(
    path: str | os.PathLike[str],
    overrides: Sequence[str] = (),
    *,
    over: Sequence[str] | Mapping[str, Any] = (),
    **options: Any,
) -> Space:
    """The search space of the sweep of the config `path` with `overrides`.

    over: swept keys, added to those of the section `sweep` of the config: "key=values", or values by key, in which arrays of
    numpy are lists. options: other keys of that section, which replace its own; None: not given.

    Loads the config at points of the space. Raises ConfigError with the faults of all keys: unknown ones, and values that the
    config does not take.
    """
    given = {key: value for key, value in options.items() if value is not None}
    faults = _Faults(load_config(path, overrides), frozenset(given))
    section = faults.section(over, given)
    method, trials = _method_and_trials(faults, section)
    compared = bool(section.monitor or faults.config.train.monitors)
    monitor, mode = _metric(faults, section, trials)
    faults.check()
    section = section.replace(method=method, trials=trials, monitor=monitor, mode=mode)
    if message := unfair_pruning(faults.config, section, monitor):
        faults.add(message, "prune")
    monitored = _of_metric(faults.config, section) if compared else []
    base = (*overrides, *monitored, *_of_lengths(faults, section))
    faults.check()
    space = Space(os.fspath(path), base, _loaded(faults, path, base), section)
    _check_points(faults, space)
    return space


class _Faults:
    """The faults of a sweep, found so far. Each gets its place: an option, or the position of a key in the file.

    config: that of the sweep; options: the names of given options.
    """

    def __init__(self, config: Config, options: frozenset[str]):
        self.config = config
        self._own = config.sweep or Sweep()
        self._options = options
        self._texts: dict[str, str] = {}  # of `over`, by key
        self._found: dict[tuple[str, ...], Problem] = {}

    def section(self, over: Sequence[str] | Mapping[str, Any], options: Mapping[str, Any]) -> Sweep:
        """The section `sweep` with `over` and `options`. Raises ConfigError."""
        own = self._own
        parsed = {key: _plain(each) for key, each in over.items()} if isinstance(over, Mapping) else self._parsed(over)
        try:
            return own.replace(over={**own.over, **parsed}, **options)
        except ConfigError as error:
            for problem in error.problems:
                self.add(problem.message, *map(str, problem.path))
            self.check()
            raise

    def _parsed(self, texts: Sequence[str]) -> dict[str, Swept]:
        if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
            raise ConfigError.of(f"expected a mapping, or a list of texts 'key=values', got {shown(texts)}", "over")
        found: dict[str, Swept] = {}
        for text in texts:
            key, equals, values = text.partition("=")
            key = key.strip()
            twice = key in self._texts
            self._texts[key] = text
            try:
                if not equals or not key:
                    raise ConfigError.of("expected key=values, such as lr.args.learning_rate=log:1e-3..1e-1")
                if twice:
                    raise ConfigError.of("the key is given twice")
                found[key] = parse_swept(values)
            except ConfigError as error:
                self.add(error.problems[0].message, "over", key)
        self.check()
        return found

    def add(self, message: str, *path: str) -> None:
        """Note the fault of a key of the section, or of a swept key ("over", key). Of one path, the first fault counts."""
        key = path[1] if path[:1] == ("over",) and len(path) > 1 else None
        if key in self._texts:
            problem = Problem((), message, Naming("{over} {}", self._texts[key]))
        elif key is not None and key not in self._own.over:
            problem = Problem((), message, Naming("{over} {}", key))
        elif path and (path[0] in self._options or path[0] not in self._own.model_fields_set):
            problem = Problem((), message, Naming("{" + path[0] + "}"))
        else:
            problem = self._placed(Problem(("sweep", *path), message))
        self._found.setdefault(path, problem)

    def _placed(self, problem: Problem) -> Problem:
        try:
            with self.config.at():
                raise ConfigError([problem])
        except ConfigError as error:
            return error.problems[0]

    def check(self) -> None:
        """Raise ConfigError if there are faults."""
        if self._found:
            raise ConfigError(self._found.values())


def _plain(value: Any) -> Any:
    """`value`, with Python's numbers in place of those of numpy."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _metric(faults: _Faults, section: Sweep, trials: int) -> tuple[str, str]:
    """The metric that compares the trials, and its mode. A single trial, of which nothing is chosen, is shown by a loss."""
    train = faults.config.train
    monitor = section.monitor or next(iter(train.monitors), "")
    if not monitor and trials == 1 and not (section.prune or section.lengths):
        return f"{train.evaluate[0] if train.evaluate else RAW}/loss", section.mode or "min"
    metric = monitor.partition("/")[2]
    if not monitor:
        faults.add("required, as train.monitor is null: the metric that compares the trials, such as ema/accuracy", "monitor")
        return "", "max"
    mode = section.mode or mode_of(metric, train.monitors, train.mode)
    if mode is None and not has_direction(metric):
        names = ["loss", *(each.figure for each in faults.config.metrics)]
        if metric not in names and (hint := did_you_mean(metric, names)):
            faults.add(f"{metric!r} is not measured{hint}", "monitor")
        else:
            faults.add(which_is_best([metric]).problems[0].message, "mode")
    return monitor, "min" if wants_less(metric, mode) else "max"


def _method_and_trials(faults: _Faults, section: Sweep) -> tuple[str, int]:
    over = section.over
    listed = all(isinstance(each, Choices) or each.points is not None for each in over.values())
    method = section.method or ("grid" if listed else "tpe")
    trials = section.trials or DEFAULT_TRIALS
    if method == "grid":
        for key, each in over.items():
            if each.grid is None:
                faults.add(f"a grid needs the number of points in the range, such as {each}:5", "over", key)
        trials = points_of_grid(over)
        if section.trials not in (None, trials):
            faults.add(f"the grid has {trials} points: leave the number out, or choose random or tpe", "trials")
    else:
        if not over:
            faults.add(f"{method} needs keys to search; there are none in `over`", "method")
        for key, each in over.items():
            if not isinstance(each, Choices) and each.points is not None:
                faults.add(f"`:{each.points}` is the number of points in a grid: leave it out for {method}", "over", key)
    if trials > MOST_TRIALS:
        faults.add(f"{trials} trials; a sweep has up to {MOST_TRIALS}", "trials" if section.trials else "over")
    if faults.config.seed + section.seeds > 2**32:
        faults.add(f"the seeds from {faults.config.seed} on exceed 4294967295", "seeds")
    averages = faults.config.averages
    for key in over:
        parts = key.split(".")
        if parts[0] == "averages" and len(parts) > 1 and parts[1] not in averages:
            hint = did_you_mean(parts[1], averages) or f"; known: {', '.join(averages) or 'none'}"
            faults.add(f"no average is called {parts[1]!r}{hint}", "over", key)
    return method, trials


def _of_metric(config: Config, section: Sweep) -> list[str]:
    """The overrides with which each run monitors the metric of the sweep, so that a wrong one is found at its begin."""
    monitor = cast(str, section.monitor)
    monitors = config.train.monitors
    found = [] if monitor in monitors else [override("train.monitor", [*monitors, monitor] if monitors else monitor)]
    if config.train.mode is None and not has_direction(monitor.partition("/")[2]):
        found.append(override("train.mode", section.mode))
    return found


def _of_lengths(faults: _Faults, section: Sweep) -> list[str]:
    if section.lengths and "averages" in section.over:
        faults.add("it adds averages to each run, so `averages` can not be swept as a whole: sweep single keys", "lengths")
    return overrides_for_lengths(faults.config) if section.lengths else []


def _loaded(faults: _Faults, path: str | os.PathLike[str], base: Sequence[str]) -> Config:
    """The config with the overrides of the sweep."""
    try:
        return load_config(path, base)
    except ConfigError as error:
        for problem in error.problems:
            faults.add(problem.message, "lengths" if problem.path[:1] == ("averages",) else "monitor")
        faults.check()
        raise


def _check_points(faults: _Faults, space: Space) -> None:
    """Load the config at points of the space. Raises ConfigError."""
    for changed, params in _points(space):
        try:
            load_config(space.path, space.overrides(params))
        except ConfigError as error:
            for problem in error.problems:
                _add(faults, problem, space, params, changed)
    faults.check()


def _points(space: Space) -> Iterator[tuple[str, dict[str, Any]]]:
    """Points to check, each with the key that is to blame for a fault elsewhere."""
    if not space.over:
        return
    *_, last = space.over
    if space.method == "grid" and space.trials <= _MOST_CHECKED:
        yield from ((last, grid_point(space.over, number)) for number in range(space.trials))
        return
    first = {key: each.ends[0] for key, each in space.over.items()}
    yield last, first
    for key, each in space.over.items():
        yield from ((key, {**first, key: value}) for value in each.ends[1:])
    yield last, {key: each.ends[-1] for key, each in space.over.items()}


def _add(faults: _Faults, problem: Problem, space: Space, params: Mapping[str, Any], changed: str) -> None:
    """Note the fault of the config at a point for the swept key that holds it, or else for the key that `changed`."""
    path = tuple(map(str, problem.path))
    for key in params:
        parts = tuple(key.split("."))
        if problem.where == overridden(key) or path[: len(parts)] == parts:
            below = ".".join(path[len(parts) :])
            below = f"{below}: " if below else ""
            faults.add(f"{below}{problem.message}{_hint(space.over[key], problem.message)}", "over", key)
            return
    at = "with " + ", ".join(f"{key} = {shown(value)}" for key, value in params.items())
    faults.add(f"{at}: {'.'.join(path)}: {problem.message}", "over", changed)


def _hint(swept: Swept, message: str) -> str:
    """The remedy for a range of floats at a key of integers."""
    if not isinstance(swept, Range) or swept.kind != "float" or "an integer" not in message:
        return ""
    return f": write int:{swept.low:.0f}..{swept.high:.0f}"
