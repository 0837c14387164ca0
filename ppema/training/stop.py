"""Ends a run after SIGTERM or Ctrl-C, once its state is saved."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ppema.log.terminal.progress import write_at_once


class StopRequest:
    """A request to stop. signal: the number of the signal received, or None; tell: shows a line to people, in a handler."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.tell = write_at_once

    @contextmanager
    def told(self, tell: Callable[[str], None]) -> Iterator[None]:
        """In this block, `tell` shows the line."""
        self.tell = tell
        try:
            yield
        finally:
            self.tell = write_at_once

    def received(self) -> bool:
        """Whether a signal was received."""
        return self.signal is not None

    def agree(self, stops: bool | None) -> None:
        """Does nothing: one process has nobody to agree with."""


class SharedStop:
    """A request to stop that all ranks heed after the same step.

    signal: the number of the signal once the ranks have agreed, or None.
    """

    def __init__(self, request: StopRequest):
        """request: that of this rank."""
        self._request = request
        self.signal: int | None = None

    def asked(self) -> bool:
        """Whether this rank was asked to stop."""
        return self._request.signal is not None

    def agree(self, stops: bool | None) -> None:
        """Stop if `stops`, which all ranks know alike: whether any of them was asked to, None if one process trains."""
        if stops:
            self.signal = self._request.signal or signal.SIGTERM

    def received(self) -> bool:
        """False: a rank alone does not give up data that does not come."""
        return False


@contextmanager
def stop_requests(then: str = "the run saves first", repeated: float = 0.0) -> Iterator[StopRequest]:
    """Records the first SIGTERM or SIGINT instead of ending the process, and says so on stderr. The second one has its usual
    effect.

    then: what follows, for the message. repeated: for so many seconds, the same signal again belongs to the first request,
    also after the block.

    Outside the main thread nothing changes, because Python delivers no signals there.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    until = 0.0

    def usual() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: object) -> None:
        nonlocal until
        if request.signal is not None:
            if time.monotonic() >= until:
                usual()
                signal.raise_signal(number)
            return
        request.signal, until = number, time.monotonic() + repeated
        if not repeated:
            usual()
        request.tell(f"stopping after {signal.Signals(number).name}: {then}; again ends it at once")

    for number in before:
        signal.signal(number, note)
    try:
        yield request
    finally:
        # The same signal may still come after the block. `note` then gives it its usual effect, once `until` is over.
        if request.signal is None or time.monotonic() >= until:
            usual()
