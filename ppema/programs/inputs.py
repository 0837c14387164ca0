"""The inputs of programs, and a check of targets that Paddle lacks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ppema.data import Batch, Loader
from ppema.errors import DataError


@dataclass(frozen=True)
class Inputs:
    """The inputs of a program.

    names: the input's name for each array of a batch, the target's name last; classes: the number of the model's classes, None
    if targets are not class labels.
    """

    names: tuple[str, ...]
    classes: int | None

    def feed(self, batch: Batch, loader: Loader) -> dict[str, np.ndarray]:
        """The arrays of `batch` by input name. Raises as `check` does, unless `check_all` has checked the whole loader."""
        if loader.known_targets is None:
            self.check(batch.arrays[-1], batch.indices, loader.label)
        return dict(zip(self.names, batch.arrays, strict=True))

    def check_all(self, loader: Loader) -> None:
        """`check` all targets of `loader` if its data is in memory; otherwise `feed` checks each batch."""
        if loader.known_targets is not None:
            self.check(loader.known_targets, np.arange(loader.samples), loader.label)

    def check(self, targets: np.ndarray, indices: np.ndarray, label: str) -> None:
        """Raises DataError for a label outside the model's outputs: Paddle would read out of bounds.

        targets: [n, ...]; indices: int64[n], the samples' indices; label: the name of the data in messages.
        """
        if self.classes is None:
            return
        wrong = (targets < 0) | (targets >= self.classes)
        if wrong.any():
            where = np.argwhere(wrong)[0]
            raise DataError(
                f"{label}: sample {indices[where[0]]}: label {targets[tuple(where)]} is out of range: the model has "
                f"{self.classes} outputs, for labels 0 to {self.classes - 1}"
            )
