"""The state of a run, copied out of its scope so that training may go on while it is written."""

from __future__ import annotations

from ppema.checkpoint.tensors import Image
from ppema.errors import ConfigError
from ppema.ir.scope import Copier
from ppema.training.setup import TrainingRun


class StateCopy:
    """Files in memory that hold the whole state, by part: made once, and filled anew by `take`.

    No average may be applied in the run's scope meanwhile: what is saved is what its variables hold.
    """

    def __init__(self, run: TrainingRun):
        """Holds the state as it is now. Raises ConfigError for a variable that no file can hold."""
        with run.config.at("model"):
            try:
                self.images = {part: Image.of(arrays) for part, arrays in run.read().items()}
            except ValueError as error:
                raise ConfigError.of(f"its variables can not be saved: {error}") from error
        views = {name: view for image in self.images.values() for name, view in image.views.items()}
        self._copier = Copier(run.scope, views)

    def take(self) -> None:
        """Copy the state as it is now, in place of the one before."""
        self._copier.copy()
