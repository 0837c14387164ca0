"""Copies the state of a run out of its scope, so that training can continue while the copy is written."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ppema.checkpoint.checkpoint import BEGUN
from ppema.checkpoint.tensors import Arrays, Image
from ppema.ema.saved import read
from ppema.errors import ConfigError
from ppema.ir.scope import Copier
from ppema.training.setup import TrainingRun


class StateCopy:
    """The whole state as files in memory, one for each part. They are allocated once; `take` fills them again.

    No average may be applied in the run's scope at that time, because its variables are saved as they are. To put averages
    together, `take` needs all ranks that share them: the others call `ShardedAverages.assist`.
    """

    def __init__(self, run: TrainingRun):
        """Copy the state, without averages that ranks share. Raises ConfigError for a variable that can not be saved."""
        self._run = run
        with run.config.at("model"):
            try:
                self.images = {part: _image(run, part, arrays) for part, arrays in run.read().items()}
            except ValueError as error:
                raise ConfigError.of(f"its variables can not be saved: {error}") from error
        self._copier = _copier(run, run.variables(), self.images)

    def take(self) -> dict[str, Image]:
        """Replace the copy by the current state, and return it. Raises PeerError."""
        self._copier.copy()
        self._put_together()
        return self.images

    def take_within_step(self) -> dict[str, Image]:
        """The same within a step of several micro-batches, with the part BEGUN (`TrainingRun.variables`)."""
        variables = self._run.variables(begun=True)
        images = {**self.images, BEGUN: Image.of(read(self._run.scope, variables[BEGUN]))}
        _copier(self._run, variables, images).copy()
        self._put_together()
        return images

    def _put_together(self) -> None:
        for name in self._run.shards:
            views = self.images[f"average-{name}"].views
            for variable, array in self._run.shards.whole(name):
                np.copyto(views[variable], array)


def _image(run: TrainingRun, part: str, arrays: Arrays) -> Image:
    """The file of a part of the state, of which this rank holds `arrays`."""
    forms = {name: (array.dtype, array.shape) for name, array in arrays.items()}
    for name in run.shards:
        if part == f"average-{name}":
            forms |= run.shards.forms(name)
    image = Image(forms)
    for name, array in arrays.items():
        np.copyto(image.views[name], array)
    return image


def _copier(run: TrainingRun, variables: Mapping[str, Mapping[str, str]], images: Mapping[str, Image]) -> Copier:
    views = {variables[part][name]: view for part, image in images.items() for name, view in image.views.items()}
    return Copier(run.scope, {name: view for name, view in views.items() if name not in run.shards.variables})
