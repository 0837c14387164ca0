"""Shows a run to people: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol, TextIO

from ppema.errors import escaped
from ppema.log.terminal.live import Live
from ppema.log.terminal.region import is_live
from ppema.log.terminal.standings import Standings

# Where there is no terminal: the seconds without a line after which the run shows that it goes on.
_SILENCE = 60.0


class Bar(Protocol):
    """Shows a run: its progress, its evaluations, and lines. standings: the evaluations so far."""

    standings: Standings

    def arrived(self) -> None:
        """The batch of the next step is there."""

    def update(self, step: int, loss: float, lr: float, rate: float) -> None:
        """A step is done. rate: in samples per second."""

    def interval(self, line: str, waited: float) -> None:
        """A log interval ended, which `line` describes. waited: the share of its time that the loop waited for data."""

    def doing(self, what: str) -> None:
        """What the run does between two steps; "" at its end."""

    def evaluated(self) -> None:
        """`standings` has a further evaluation."""

    def notice(self, text: str) -> None:
        """Show a line. A signal handler may call it."""

    def line(self, text: str) -> None:
        """Print a line."""


@contextmanager
def progress(total: int, start: int, *, per_epoch: int = 1, standings: Standings | None = None) -> Iterator[Bar]:
    """On a terminal, the table of evaluations and the run's progress, below all lines; elsewhere one line per evaluation.

    total: the number of steps of the run; start: the steps already done; per_epoch: the steps of an epoch; standings: of the
    evaluations, empty at first. The table's last state stays on the terminal.
    """
    standings = Standings() if standings is None else standings
    stream: TextIO | None = sys.stderr
    if stream is None or not is_live(stream):
        yield _Lines(stream, total, standings)
        return
    with Live(stream, total, start, per_epoch, standings) as shown:
        yield shown


class _Lines:
    def __init__(self, stream: TextIO | None, total: int, standings: Standings):
        self.standings = standings
        self._stream, self._total = stream, total
        self._last = time.monotonic()

    def arrived(self) -> None:
        pass

    def update(self, step: int, loss: float, lr: float, rate: float) -> None:
        pass

    def interval(self, line: str, waited: float) -> None:
        self._alive(line)

    def doing(self, what: str) -> None:
        if what:
            self._alive(what)

    def evaluated(self) -> None:
        self.line(self.standings.line(self._total))

    def notice(self, text: str) -> None:
        write_at_once(text)

    def line(self, text: str) -> None:
        self._last = time.monotonic()
        # Training continues if stderr was closed, which is a ValueError if this process did it.
        with suppress(OSError, ValueError):
            if self._stream is not None:
                print(escaped(text), file=self._stream, flush=True)

    def _alive(self, text: str) -> None:
        if time.monotonic() - self._last >= _SILENCE:
            self.line(text)


def write_at_once(text: str) -> None:
    """Write a line to stderr, from a signal handler too.

    The signal may have interrupted a write to sys.stderr, which must not be entered twice.
    """
    with suppress(OSError):
        os.write(2, f"{text}\n".encode())
