"""Compares the evaluations of a run: the last figures, their change since the evaluation before, and the best so far."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from ppema.checkpoint.best import Mode, has_direction, mode_of, wants_less
from ppema.log.figure_texts import figure
from ppema.log.records import measures_of

# The most metrics on the line of an evaluation where there is no terminal.
_ON_A_LINE = 4


@dataclass(frozen=True)
class Standing:
    """A figure of one set of weights in the last evaluation.

    change: since the evaluation before, None for the first one; better: whether the change is an improvement, None if there is
    no change or no direction of the metric; best: the best so far, None if no value was finite or there is no direction;
    new_best: whether the last evaluation found the best, as `Standings` defines it.
    """

    value: float
    change: float | None
    better: bool | None
    best: float | None
    new_best: bool


@dataclass
class _History:
    """step, value: of the last evaluation; before: the value before; best, best_step: the best value, and its step."""

    step: int
    value: float
    before: float | None = None
    best: float | None = None
    best_step: int = -1


class Standings:
    """The evaluations of a run so far. Another thread may read it.

    A new best is one of a monitored metric. In a run that monitors none, it is the best of a metric over all weights.
    """

    def __init__(self, monitors: Sequence[str] = (), mode: Mode | None = None):
        """monitors, mode: those of the section `train`."""
        self._monitors = tuple(monitors)
        self._mode: Mode | None = mode
        self._histories: dict[tuple[str, str], _History] = {}
        self._lock = threading.Lock()
        self.step, self.epoch = 0, 0.0
        self.version = 0  # the number of evaluations so far

    def add(self, step: int, epoch: float, figures: Mapping[str, Mapping[str, float | None]]) -> None:
        """Take note of the evaluation after `step`. figures: for each set of weights, by metric; None: it was not finite."""
        with self._lock:
            self.step, self.epoch = step, epoch
            self.version += 1
            for weights, found in figures.items():
                for metric, figure in found.items():
                    self._add((weights, metric), math.nan if figure is None else figure)

    def recall(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Take note of the evaluations before a run was resumed. records: those of metrics.jsonl, in order."""
        for step, found in groupby(records, lambda record: record["step"]):
            same = list(found)
            figures = {each["weights"]: {measure: each[measure] for measure in measures_of(each)} for each in same}
            self.add(step, same[0]["epoch"], figures)

    def _add(self, key: tuple[str, str], value: float) -> None:
        before = self._histories.get(key)
        made = _History(self.step, value)
        if before is not None:
            made.before, made.best, made.best_step = before.value, before.best, before.best_step
        less = self._less(key[1])
        beats = made.best is None or (value < made.best if less else value > made.best)
        if less is not None and math.isfinite(value) and beats:
            made.best, made.best_step = value, self.step
        self._histories[key] = made

    def _less(self, metric: str) -> bool | None:
        """Whether less of `metric` is better; None if that is not known."""
        mode = mode_of(metric, self._monitors, self._mode)
        return wants_less(metric, mode) if mode is not None or has_direction(metric) else None

    def table(self) -> tuple[list[str], list[str], dict[tuple[str, str], Standing]]:
        """The weights, the metrics and the standings of the last evaluation. Monitored metrics come first."""
        with self._lock:
            last = {key: each for key, each in self._histories.items() if each.step == self.step}
            found = dict.fromkeys(metric for _, metric in last)
            monitored = [each.partition("/")[2] for each in self._monitors]
            metrics = list(dict.fromkeys([*(each for each in monitored if each in found), *found]))
            standings = {key: self._standing(key, each) for key, each in last.items()}
            return list(dict.fromkeys(weights for weights, _ in last)), metrics, standings

    def _standing(self, key: tuple[str, str], history: _History) -> Standing:
        less = self._less(key[1])
        change = None if history.before is None else history.value - history.before
        better = None if less is None or not change or math.isnan(change) else (change < 0) == less
        new = history.best_step == self.step and (
            f"{key[0]}/{key[1]}" in self._monitors if self._monitors else self._wins(key, history, bool(less))
        )
        return Standing(history.value, change, better, history.best, new)

    def _wins(self, key: tuple[str, str], history: _History, less: bool) -> bool:
        """Whether `history` has the best of its metric over all weights. Of equal ones, the first is the best."""
        rivals = [(own, each) for own, each in self._histories.items() if own[1] == key[1] and each.best is not None]
        first, _ = min(rivals, key=lambda rival: ((rival[1].best or 0.0) * (1 if less else -1), rival[1].best_step))
        return first == key

    def line(self, total: int) -> str:
        """The last evaluation on one line, for a log without a terminal. total: the number of steps of the run."""
        weights, metrics, standings = self.table()
        words = [f"step {self.step}/{total}", f"epoch {self.epoch:.2f}"]
        for metric in metrics[:_ON_A_LINE]:
            found = [(each, standings[each, metric]) for each in weights if (each, metric) in standings]
            figures = (f"{each} {figure(standing.value)}{' (best)' if standing.new_best else ''}" for each, standing in found)
            words.append(f"{metric}: {'  '.join(figures)}")
        more = len(metrics) - _ON_A_LINE
        return "  ".join([*words, *([f"({more} more in log.txt)"] if more > 0 else [])])
