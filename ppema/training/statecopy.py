"""Copies the state of a run out of its scope, so that training can continue while the copy is written."""

from __future__ import annotations

from ppema.checkpoint.tensors import Image
from ppema.errors import ConfigError
from ppema.ir.scope import Copier
from ppema.training.setup import TrainingRun


class StateCopy:
    """The whole state as files in memory, one for each part. They are allocated once; `take` fills them again.

    No average may be applied in the run's scope at that time, because its variables are saved as they are.
    """

    def __init__(self, run: TrainingRun):
        """Copy the current state. Raises ConfigError for a variable that can not be saved."""
        with run.config.at("model"):
            try:
                self.images = {part: Image.of(arrays) for part, arrays in run.read().items()}
            except ValueError as error:
                raise ConfigError.of(f"its variables can not be saved: {error}") from error
        views = {name: view for image in self.images.values() for name, view in image.views.items()}
        self._copier = Copier(run.scope, views)

    def take(self) -> None:
        """Replace the copy by the current state."""
        self._copier.copy()
