"""Writes files in the background of the training loop, one write at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from ppema.errors import TrainingError


class BackgroundWriter:
    """Does writes in a thread, in the order of their submission. A context manager.

    At the end of the block, or after an error in it, it waits for the current write. After a second Ctrl-C it does not wait,
    and the thread ends with the process.
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
        """Wait for the write before, then start `write`. Call `take_failure` between two writes."""
        self.wait()
        assert self._failure is None
        self._thread = threading.Thread(target=self._do, args=(write,), name="ppema writer", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait for the current write, if any."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def take_failure(self) -> TrainingError | None:
        """The TrainingError of the last finished write, once; None if it succeeded. Raises any other exception of it."""
        failure = self._failure
        if failure is None:
            # Setting it to None here could lose a failure of the running thread.
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
