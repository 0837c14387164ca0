"""Writing beside the training loop, one thing after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from ppema.errors import TrainingError


class BackgroundWriter:
    """Does pieces of writing in a thread, in the order in which they come. A context manager.

    Left as usual, or because of an error, it waits for the piece under way; left because of a second Ctrl-C it does not, and
    the thread ends with the process.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def __enter__(self) -> BackgroundWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None or issubclass(kind, Exception):
            self.wait()

    def submit(self, write: Callable[[], object]) -> None:
        """Begin `write` once the piece before it is done, of which no failure may be left to take."""
        self.wait()
        assert self._failure is None
        self._thread = threading.Thread(target=self._do, args=(write,), name="ppema writer", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Return when nothing is being written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def take_failure(self) -> TrainingError | None:
        """Why the last piece that is done could not be written, once; raises what is no TrainingError."""
        failure = self._failure
        if failure is None:
            # Not set to None again: the thread may have failed meanwhile.
            return None
        self._failure = None
        if isinstance(failure, TrainingError):
            return failure
        raise failure

    def _do(self, write: Callable[[], object]) -> None:
        try:
            write()
        except BaseException as error:
            self._failure = error
