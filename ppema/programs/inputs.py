"""What programs are fed, and the check of targets that Paddle does not make."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ppema.data import Batch, Loader
from ppema.errors import DataError


@dataclass(frozen=True)
class Inputs:
    """What a program is fed.

    names: the input's name for each array of a batch, the target's last; classes: the number of classes that the model can
    tell apart, None where targets are not classes.
    """

    names: tuple[str, ...]
    classes: int | None

    def feed(self, batch: Batch, loader: Loader) -> dict[str, np.ndarray]:
        """`batch` of `loader` by the programs' input names, checked as by `check` unless that was `check_all`'s part."""
        if loader.known_targets is None:
            self.check(batch.arrays[-1], batch.indices, loader.label)
        return dict(zip(self.names, batch.arrays, strict=True))

    def check_all(self, loader: Loader) -> None:
        """`check` for all targets of a loader whose data is in memory."""
        if loader.known_targets is not None:
            self.check(loader.known_targets, np.arange(loader.samples), loader.label)

    def check(self, targets: np.ndarray, indices: np.ndarray, label: str) -> None:
        """Raise DataError for a class outside the model's outputs, which Paddle would read out of bounds.

        targets: [n, …]; indices: the samples' indices [n]; label: what errors call the data.
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
