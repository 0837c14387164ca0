"""`ProcessEnd`, how SIGTERM, a fault of another rank, and the end of the script end the process of a rank."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

from ppema.distributed.gloo_threads import broken

_REPEATED = 5.0  # seconds in which SIGTERM is the launcher's answer to a failure


class ProcessEnd:
    """The end of this process while its rank is in a run.

    code: exit code after a fault of another rank, else None. With one, the process ends without Paddle's own end, which could
    wait for a rank that is gone. After an error of its own it ends as usual, so that a script can handle the error and go on.
    """

    def __init__(self, asked: Callable[[int], None], leave: Callable[[], None], hold: float):
        """asked: called for SIGTERM in the run; leave: called if the script ends within the run, as with an open generator.

        hold: seconds before an end at once. SIGTERM keeps a handler that is not Python's default one.
        """
        self.code: int | None = None
        self._asked, self._leave, self._hold = asked, leave, hold
        self._state: Literal["open", "closing", "closed"] = "open"
        self._failed: float | None = None  # the time
        self._waiting = False
        atexit.register(self._at_exit)
        before = signal.getsignal(signal.SIGTERM)
        ours = isinstance(getattr(before, "__self__", None), ProcessEnd)
        if _in_main_thread() and (ours or before == signal.SIG_DFL):
            signal.signal(signal.SIGTERM, self._signalled)

    def failed(self) -> None:
        """This rank failed by itself. For some seconds SIGTERM is ignored: the launcher sends it to all ranks then."""
        self._failed, self.code = time.monotonic(), None

    def closing(self) -> None:
        """The rank leaves the run. SIGTERM waits until `close`."""
        self._state = "closing"

    def close(self) -> None:
        """The rank has left the run. Without a fault, SIGTERM and the end of the script have their usual effect again."""
        self._state = "closed"
        if self.code is not None or self._failed is not None:
            return
        atexit.unregister(self._at_exit)
        if self._hears() and _in_main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            if self._waiting:
                signal.raise_signal(signal.SIGTERM)

    def at_once(self, code: int) -> None:
        """End the process now."""
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # such as a full disk
                stream.flush()
        os._exit(code)

    def _hears(self) -> bool:
        return signal.getsignal(signal.SIGTERM) == self._signalled

    def _signalled(self, number: int, frame: object) -> None:
        if self.code is not None or (self._failed is not None and time.monotonic() < self._failed + _REPEATED):
            return
        if self._state == "closing":
            self._waiting = True
        elif self._state == "open" and self._failed is None:
            self._asked(number)
        else:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    def _at_exit(self) -> None:
        if self._state == "open" and self.code is None and self._failed is None:
            self._leave()
        if self.code is not None:
            time.sleep(self._hold)
            self.at_once(self.code)
        if self._failed is not None and broken():
            self.at_once(1)
        if self._failed is not None and self._hears():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Paddle's own end takes about a second


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
