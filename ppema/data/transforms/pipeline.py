"""The transforms of a data section, applied to batches one after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ppema.data.fields import Field
from ppema.data.transforms.placed_transform import Origin, PlacedTransform


@dataclass(frozen=True)
class Pipeline:
    """Transforms in order. before, fields: the fields of a sample before and after them.

    A transformed sample is a pure function of the sample, its index, seed and epoch. It does not depend on its batch.
    """

    steps: tuple[PlacedTransform, ...]
    before: tuple[Field, ...]
    fields: tuple[Field, ...]

    @property
    def random(self) -> tuple[str, ...]:
        """The names of the transforms that may draw."""
        return tuple(step.name for step in self.steps if step.transform.random)

    @property
    def touched(self) -> frozenset[str]:
        """The names of the fields that a transform may change."""
        return frozenset(self.fields[position].name for step in self.steps for position in step.positions)

    def extended(self, step: PlacedTransform, sample: Sequence[np.ndarray]) -> tuple[Pipeline, tuple[np.ndarray, ...]]:
        """The pipeline with `step` at its end, and `sample` after that step.

        sample: the arrays [1, *shape] of sample 0 after the pipeline. Raises DataError if the step fails on it.
        """
        changed = self._run(step, sample, self.fields, Origin(0, 0, np.zeros(1, np.int64)), lambda: None)
        fields = list(self.fields)
        for position in step.positions:
            array = changed[position]
            fields[position] = replace(fields[position], shape=array.shape[1:], dtype=array.dtype.name)
        step = replace(step, after=tuple(fields[position] for position in step.positions))
        return Pipeline((*self.steps, step), self.before, tuple(fields)), changed

    def apply(
        self, arrays: Sequence[np.ndarray], origin: Origin, wait: Callable[[], None] = lambda: None
    ) -> tuple[np.ndarray, ...]:
        """The batch in `arrays`, one [n, *shape] for each of `before`, after all transforms. It may write into `arrays`.

        wait: see `PlacedTransform.run`. Raises DataError, which names the sample and the transform.
        """
        fields = self.before
        for step in self.steps:
            arrays = self._run(step, arrays, fields, origin, wait)
        return tuple(np.ascontiguousarray(array) for array in arrays)

    @staticmethod
    def _run(
        step: PlacedTransform, arrays: Sequence[np.ndarray], fields: Sequence[Field], origin: Origin, wait: Callable[[], None]
    ) -> tuple[np.ndarray, ...]:
        changed = list(arrays)
        acted = [fields[position] for position in step.positions]
        made = step.run([changed[position] for position in step.positions], acted, origin, wait)
        for position, array in zip(step.positions, made, strict=True):
            changed[position] = array
        return tuple(changed)
