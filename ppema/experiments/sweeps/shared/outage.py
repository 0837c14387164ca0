"""Failures of a sweep's storage that may pass: a database that restarts, a network that is gone for a while, a full disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

from ppema.errors import TrainingError
from ppema.experiments.sweeps.shared.masking import innermost, without_password

_PACKAGES = ("sqlalchemy", "grpc")
_PAUSE = 0.5  # seconds after a failure

_Answer = TypeVar("_Answer")


class StorageOutageError(TrainingError):
    """The storage failed, which may pass. method: the name of its method that failed; fault: the driver's message."""

    def __init__(self, method: str, fault: str):
        self.method, self.fault = method, fault
        super().__init__(f"the sweep's storage fails: {fault}")


class WatchedStorage:
    """Has the methods of an Optuna storage, whose outages are StorageOutageError; other errors pass.

    answered: receives the name of a method after each call that was no outage.
    """

    def __init__(self, storage: Any):
        self._storage = storage
        self.answered: Callable[[str], None] = lambda method: None

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._storage, name)

        @wraps(method)
        def watched(*arguments: Any, **options: Any) -> Any:
            try:
                result = method(*arguments, **options)
            except Exception as error:
                if _is_outage(error):
                    raise StorageOutageError(name, without_password(innermost(error))) from error
                self.answered(name)
                raise
            self.answered(name)
            return result

        return watched


@dataclass
class _Failing:
    """When the failures of a method began, and when it failed last."""

    since: float
    last: float


class StoragePatience:
    """Waits while `storage` fails, until one of its methods has failed for `seconds`.

    Each method counts for itself: reads may succeed where no write does, for example on a full disk.

    say: receives a line for the first failure, and one when the storage is back.
    """

    def __init__(self, storage: WatchedStorage, seconds: float, say: Callable[[str], None]):
        self._seconds = seconds
        self._say = say
        self._failing: dict[str, _Failing] = {}
        storage.answered = self._answered

    def tried(self, call: Callable[[], _Answer]) -> _Answer | None:
        """The result of `call()`; None after an outage, and a pause.

        Raises TrainingError if an outage has lasted too long, and all other errors of `call`.
        """
        try:
            return call()
        except StorageOutageError as error:
            self._failed(error)
            time.sleep(_PAUSE)
            return None

    def insisted(self, call: Callable[[], _Answer]) -> _Answer:
        """The result of `call()`, which is repeated after outages, and does not return None. Raises as `tried`."""
        while (result := self.tried(call)) is None:
            pass
        return result

    def _failed(self, error: StorageOutageError) -> None:
        now = time.monotonic()
        # Methods that were not called again do not count for the next outage.
        self._failing = {method: each for method, each in self._failing.items() if now - each.last <= self._seconds}
        if not self._failing:
            self._say(f"warning: {error}; the trainings go on, and the sweep tries again")
        found = self._failing.setdefault(error.method, _Failing(now, now))
        found.last = now
        if now - found.since > self._seconds:
            raise TrainingError(f"the sweep's storage has failed for {self._seconds:.0f} seconds: {error.fault}") from error

    def _answered(self, method: str) -> None:
        if self._failing.pop(method, None) is not None and not self._failing:
            self._say("the sweep's storage works again")


def _is_outage(error: Exception) -> bool:
    if isinstance(error, OSError):
        return True
    return any(
        each.__module__.partition(".")[0] in _PACKAGES or each.__name__ == "StorageInternalError"
        for each in type(error).__mro__
    )
