"""Reads batches, and applies transforms to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ppema.config.sections.transform_spec import TransformSpec
from ppema.data.dataset import Dataset
from ppema.data.fields import Field
from ppema.data.layout import Layout
from ppema.data.processes.shared import ArrayForm
from ppema.data.read import Allocate, BatchReader, Cancelled, empty
from ppema.data.transforms.pipeline import Pipeline
from ppema.data.transforms.placed_transform import Origin
from ppema.data.transforms.table import build_pipeline
from ppema.errors import DataError


@dataclass(frozen=True)
class TransformedReader:
    """Reads batches of `reader`, and applies `pipeline` to them. It offers what a BatchReader does."""

    reader: BatchReader
    pipeline: Pipeline

    @classmethod
    def open(cls, reader: BatchReader, specs: Sequence[TransformSpec]) -> TransformedReader:
        """The reader with the transforms `specs`, which run on sample 0.

        Raises ConfigError at ("transforms", ...) for transforms that do not fit, and DataError if one fails on sample 0.
        """
        sample = reader.batch(0, np.zeros(1, np.int64))
        try:
            return cls(reader, build_pipeline(specs, reader.fields, sample))
        except DataError as error:
            raise DataError(f"{reader.label}: {error}") from error

    @property
    def dataset(self) -> Dataset:
        """The data set that `reader` reads."""
        return self.reader.dataset

    @property
    def layout(self) -> Layout:
        """How samples become arrays, before the transforms."""
        return self.reader.layout

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields after all transforms."""
        return self.pipeline.fields

    @property
    def arrays(self) -> None:
        """None, because no batch is rows of arrays in memory."""

    @property
    def known(self) -> Mapping[str, np.ndarray] | None:
        """The fields of data in memory that no transform changes, by name; None if a target is changed, and for other data."""
        changed, known = self.pipeline.touched, self.reader.known
        if known is None or any(field.is_target and field.name in changed for field in self.fields):
            return None
        return {name: array for name, array in known.items() if name not in changed}

    def batch(
        self,
        epoch: int,
        indices: np.ndarray,
        allocate: Allocate = empty,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> tuple[np.ndarray, ...]:
        """As `BatchReader.batch`, after the transforms. Raises DataError for a transform that fails, with its sample."""

        def wait() -> None:
            if cancelled():
                raise Cancelled

        arrays = self.reader.batch(epoch, indices, cancelled=cancelled)
        try:
            changed = self.pipeline.apply(arrays, Origin(self.reader.seed, epoch, indices), wait)
        except DataError as error:
            raise DataError(f"{self.reader.label}: {error}") from error
        if allocate is empty:
            return changed
        allocated = allocate([ArrayForm(array.shape, array.dtype.name) for array in changed])
        for array, value in zip(allocated, changed, strict=True):
            array[...] = value
        return allocated
