"""Shows a run on a terminal: the table of its evaluations and its progress, below the lines that it prints."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.segment import Segment
from rich.text import Text

from ppema.log.figure_texts import figure
from ppema.log.terminal.region import clock, filled, gauge, print_above, region
from ppema.log.terminal.standings import Standings
from ppema.log.terminal.standings_table import standings_table

# The share of time waiting for data above which it is shown.
LONG_WAIT = 0.1
_PATIENCE = 2.0  # seconds until a wait is shown
_LONGEST_BAR = 40


class Live:
    """The region at the bottom of a terminal that shows a run; a context manager, and a `Bar`.

    A thread redraws it, four times a second. A step costs some assignments.
    """

    def __init__(self, stream: TextIO, total: int, start: int, per_epoch: int, standings: Standings):
        """total, start, per_epoch, standings: as for `progress`."""
        self.standings = standings
        self._total, self._start, self._per_epoch = total, start, per_epoch
        self._step, self._loss, self._lr, self._rate = start, math.nan, math.nan, 0.0
        self._waited, self._doing, self._notice = 0.0, "", ""
        # Since when the run waits for data, or does what it does; None: it is within a step.
        self._since: float | None = time.monotonic()
        self._began, self._ended = time.monotonic(), False
        self._first: tuple[float, int] | None = None
        self._drawn: tuple[object, list[RenderableType]] = (None, [])
        self._region = region(self, stream)

    def __enter__(self) -> Live:
        self._region.start(refresh=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended = True
        self._region.stop()

    def arrived(self) -> None:
        self._since = None

    def update(self, step: int, loss: float, lr: float, rate: float) -> None:
        self._step, self._loss, self._lr, self._rate = step, loss, lr, rate
        self._since = time.monotonic()
        if self._first is None:
            self._first = self._since, step

    def interval(self, line: str, waited: float) -> None:
        self._waited = waited

    def doing(self, what: str) -> None:
        if not (what and self._doing):
            self._since = time.monotonic()
        self._doing = what

    def evaluated(self) -> None:
        self._region.refresh()

    def notice(self, text: str) -> None:
        self._notice = text

    def line(self, text: str) -> None:
        print_above(self._region, text)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """The region's lines, within the size of the terminal. At the end it may be higher."""
        width, ended = options.max_width, self._ended
        below = self._progress(width, ascii_only=options.ascii_only)
        height = None if ended else options.size.height - len(below) - 1
        key = self.standings.version, width, height
        if self._drawn[0] != key:
            lines = console.render_lines(Group(*standings_table(self.standings, width, height)), options, pad=False)
            self._drawn = key, [_Drawn(lines)] if self.standings.version else []
        yield from self._drawn[1]
        yield from below

    def _progress(self, width: int, *, ascii_only: bool) -> list[Text]:
        step, now, since = self._step, time.monotonic(), self._since
        share = step / self._total if self._total else 1.0
        count, percent = f"step {step}/{self._total}", f"{math.floor(100 * share)}%"
        words = [percent, f"after {clock(now - self._began)}" if self._ended else self._left(now)]
        room = min(_LONGEST_BAR, width - cell_len("  ".join((count, *words))) - 2)
        lines = filled(
            [count, *([gauge(share, room, ascii_only=ascii_only)] if room >= 5 else []), *filter(None, words)], width
        )
        if self._first is not None:
            figures = [f"epoch {step / self._per_epoch:.2f}", f"loss {figure(self._loss)}", f"lr {self._lr:.4g}"]
            figures.append(f"{self._rate:.0f} samples/s")
            if self._waited > LONG_WAIT:
                figures.append(f"{self._waited:.0%} of the time waiting for data")
            lines += filled(figures, width)
        if not self._ended:
            if self._doing:
                lines += filled([self._doing, clock(now - since)] if since is not None else [self._doing], width)
            elif since is not None and now - since > _PATIENCE:
                lines += filled(["waiting for data", clock(now - since)], width)
            lines += filled([self._notice] if self._notice else [], width)
        return [Text(line, overflow="fold", no_wrap=False) for line in lines]

    def _left(self, now: float) -> str:
        """The remaining time, if the run goes on at the pace of this process so far, with evaluations and saves."""
        if self._first is None or self._step == self._first[1]:
            return ""
        begin, first = self._first
        return f"{clock((now - begin) / (self._step - first) * (self._total - self._step))} left"


class _Drawn:
    """Lines that were rendered before."""

    def __init__(self, lines: Sequence[Sequence[Segment]]):
        self._lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for line in self._lines:
            yield from line
            yield Segment.line()
