"""Copies the state of a run out of its scope, so that training can continue while the copy is written."""

from __future__ import annotations

from collections.abc import Mapping

from ppema.checkpoint.checkpoint import BEGUN
from ppema.checkpoint.tensors import Image
from ppema.ema.saved import read
from ppema.errors import ConfigError
from ppema.ir.scope import Copier
from ppema.training.setup import TrainingRun


class StateCopy:
    """The whole state as files in memory, one for each part. They are allocated once; `take` fills them again.

    No average may be applied in the run's scope at that time, because its variables are saved as they are.
    """

    def __init__(self, run: TrainingRun):
        """Copy the current state. Raises ConfigError for a variable that can not be saved."""
        self._run = run
        with run.config.at("model"):
            try:
                self.images = {part: Image.of(arrays) for part, arrays in run.read().items()}
            except ValueError as error:
                raise ConfigError.of(f"its variables can not be saved: {error}") from error
        self._copier = _copier(run, run.variables(), self.images)

    def take(self) -> dict[str, Image]:
        """Replace the copy by the current state, and return it."""
        self._copier.copy()
        return self.images

    def take_within_step(self) -> dict[str, Image]:
        """The same within a step of several micro-batches, with the part BEGUN (`TrainingRun.variables`)."""
        variables = self._run.variables(begun=True)
        images = {**self.images, BEGUN: Image.of(read(self._run.scope, variables[BEGUN]))}
        _copier(self._run, variables, images).copy()
        return images


def _copier(run: TrainingRun, variables: Mapping[str, Mapping[str, str]], images: Mapping[str, Image]) -> Copier:
    views = {variables[part][name]: view for part, image in images.items() for name, view in image.views.items()}
    return Copier(run.scope, views)
