"""Shows how far a command is, in a line on a terminal that vanishes at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, ConsoleOptions
from rich.text import Text

from ppema.errors import escaped
from ppema.log.terminal.region import clock, filled, gauge, is_live, region

_WIDTH = 20  # of the bar


@contextmanager
def activity() -> Iterator[Callable[[str, int, int | None], None]]:
    """A function that shows what is done, and how many batches of it, on stderr if that is a terminal.

    Its arguments: what is done, in words; the batches done; those in all, None if they are not known.
    """
    if not is_live(sys.stderr):
        yield lambda what, done, total: None
        return
    shown = _Activity()
    with region(shown, sys.stderr, transient=True):
        yield shown.show


class _Activity:
    def __init__(self) -> None:
        self._what, self._done, self._total = "", 0, None
        self._began = time.monotonic()

    def show(self, what: str, done: int, total: int | None) -> None:
        if what != self._what:
            self._what, self._began = what, time.monotonic()
        self._done, self._total = done, total

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        if not self._what:
            return
        words, done, total, passed = [escaped(self._what)], self._done, self._total, time.monotonic() - self._began
        if total:
            left = f"{clock(passed / done * (total - done))} left" if done else clock(passed)
            count = f"{done}/{total} batches"
            words += [gauge(done / total, _WIDTH, ascii_only=options.ascii_only), count, left]
        else:
            words.append(clock(passed))
        yield from (Text(line, overflow="fold", no_wrap=False) for line in filled(words, options.max_width))
