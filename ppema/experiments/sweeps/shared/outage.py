"""Failures of a sweep's storage that may pass: a database that restarts, a network that is gone for a while, a full disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ppema.errors import TrainingError
from ppema.experiments.sweeps.shared.study_storage import innermost, without_password

_PACKAGES = ("sqlalchemy", "grpc")
_PAUSE = 0.5  # seconds after a failure


class StoragePatience:
    """Suppresses failures of the storage until they have lasted for `seconds`.

    say: receives a line for the first one, and one when the storage is back.
    """

    def __init__(self, seconds: float, say: Callable[[str], None]):
        self._seconds = seconds
        self._say = say
        self._since: float | None = None

    @contextmanager
    def trying(self) -> Iterator[None]:
        """Suppress a failure inside, and pause after it. Raises TrainingError if failures have lasted too long."""
        try:
            yield
        except Exception as error:
            if not _is_outage(error):
                raise
            fault = without_password(innermost(error))
            now = time.monotonic()
            if self._since is None:
                self._since = now
                self._say(f"warning: the sweep's storage fails: {fault}; the trainings go on, and the sweep tries again")
            elif now - self._since > self._seconds:
                raise TrainingError(f"the sweep's storage has failed for {self._seconds:.0f} seconds: {fault}") from error
            time.sleep(_PAUSE)
        else:
            if self._since is not None:
                self._say("the sweep's storage works again")
            self._since = None


def _is_outage(error: Exception) -> bool:
    if isinstance(error, OSError):
        return True
    return any(
        each.__module__.partition(".")[0] in _PACKAGES or each.__name__ == "StorageInternalError"
        for each in type(error).__mro__
    )
