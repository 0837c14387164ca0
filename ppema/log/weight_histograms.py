"""Histograms of a run's weights and averages by layer group, for VisualDL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ppema.averaging.health import layer_groups
from ppema.averaging.precision import widened
from ppema.config import RAW
from ppema.ir import scope
from ppema.log.run_board import RunBoard
from ppema.passes.select import chosen
from ppema.programs.build import Programs

_BINS = 40


class WeightHistograms:
    """Draws the trained parameters of a run, and their averages, as histograms. BatchNorm's statistics are omitted.

    weights/<group>: the values; updates/<group>: their change since the evaluation before, from the second evaluation of this
    process on; average minus raw/<group>: the difference of an average to the weights.
    """

    def __init__(self, programs: Programs, where: Any):
        """where: the scope of `programs`."""
        self._scope = where
        place_of = {name: place for place, name in programs.model.structured.items()}
        trained = [each.name for each in programs.model.parameters if each.trainable]
        groups = layer_groups([place_of.get(name, name) for name in trained])
        self._groups: dict[str, list[str]] = {}
        for name in trained:
            self._groups.setdefault(groups[place_of.get(name, name)], []).append(name)
        self._shadow_of: dict[str, Mapping[str, str]] = {RAW: {name: name for name in trained}}
        for key, average in programs.averages.items():
            covered = {each.name for each in chosen(average.choices, "average")}
            self._shadow_of[key] = {name: average.shadow_of[name] for name in trained if name in covered}
        self._before: dict[str, np.ndarray] = {}

    def draw(self, board: RunBoard, weights: Iterable[str], step: int) -> None:
        """Add the histograms of the sets of `weights` after `step` to the next write of `board`."""
        now: dict[str, np.ndarray] = {}
        for name in weights:
            shadow_of = self._shadow_of[name]
            for group, members in self._groups.items():
                held = [shadow_of[each] for each in members if each in shadow_of]
                if not held:
                    continue
                arrays = {each: widened(scope.get(self._scope, each)).reshape(-1) for each in held}
                _add(board, name, f"weights/{group}", arrays.values(), step)
                if self._before.keys() >= arrays.keys():
                    _add(board, name, f"updates/{group}", _differences(arrays, self._before), step)
                if name != RAW:
                    raw = {shadow_of[each]: self._raw(each) for each in members if each in shadow_of}
                    _add(board, name, f"average minus raw/{group}", _differences(arrays, raw), step)
                now |= arrays
        self._before = now

    def _raw(self, name: str) -> np.ndarray:
        return widened(scope.get(self._scope, name)).reshape(-1)


def _differences(now: Mapping[str, np.ndarray], before: Mapping[str, np.ndarray]) -> Iterator[np.ndarray]:
    return (array.astype(np.float64) - before[name] for name, array in now.items())


def _add(board: RunBoard, name: str, tag: str, arrays: Iterable[np.ndarray], step: int) -> None:
    """Add a histogram of all finite numbers of `arrays`, if there are any."""
    values = np.concatenate([*arrays]).astype(np.float64)
    values = values[np.isfinite(values)]
    if values.size:
        counts, edges = np.histogram(values, _BINS)
        board.histogram(name, tag, counts, edges, step)
