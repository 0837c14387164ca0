"""Ends a run between two steps after SIGTERM or Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class StopRequest:
    """A request to stop. signal: the number of the signal received, or None."""

    def __init__(self) -> None:
        self.signal: int | None = None


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Records the first SIGTERM or SIGINT instead of ending the process. The second one has its usual effect.

    Outside the main thread nothing changes, because Python delivers no signals there.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def note(number: int, frame: object) -> None:
        request.signal = number
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
