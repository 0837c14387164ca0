"""The inputs of programs, and a check of targets that Paddle lacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ppema.data import Batch, Loader
from ppema.errors import DataError
from ppema.losses import TargetRange


@dataclass(frozen=True)
class Inputs:
    """The inputs of a program.

    names: the input's name for each array of a batch; accepts: by the name of a field, its valid values.
    """

    names: tuple[str, ...]
    accepts: Mapping[str, TargetRange]

    def feed(self, batch: Batch, loader: Loader) -> dict[str, np.ndarray]:
        """The arrays of `batch` by input name. Raises as `check` does, unless `check_all` has checked the whole loader."""
        arrays = dict(zip(self.names, batch.arrays, strict=True))
        if loader.known is None:
            self.check(arrays, batch.indices, loader.label)
        return arrays

    def check_all(self, loader: Loader) -> None:
        """`check` all samples of `loader` if its data is in memory; otherwise `feed` checks each batch."""
        if loader.known is not None:
            samples = len(next(iter(loader.known.values())))
            self.check(loader.known, np.arange(samples), loader.label)

    def check(self, arrays: Mapping[str, np.ndarray], indices: np.ndarray, label: str) -> None:
        """Raises DataError for a target that the loss does not accept: for a label, Paddle would read out of bounds.

        arrays: [n, ...] by field; indices: int64[n], the samples' indices; label: the name of the data in messages.
        """
        for name, valid in self.accepts.items():
            wrong = valid.invalid(arrays[name])
            if wrong.any():
                where = np.argwhere(wrong)[0]
                target = f"{'label' if valid.classes else 'target'} {arrays[name][tuple(where)]}"
                raise DataError(f"{label}: sample {indices[where[0]]}: {target} is out of range: {valid}")
