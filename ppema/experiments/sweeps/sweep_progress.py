"""Shows the progress of a sweep: a line for each trial, and on a terminal the trials in training below them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol, TextIO

from rich.console import Console, ConsoleOptions
from rich.text import Text

from ppema.errors import escaped, listed
from ppema.experiments.sweeps.search.space import Space
from ppema.experiments.sweeps.search.unchecked_names import unchecked_names
from ppema.log.terminal.progress import write_at_once
from ppema.log.terminal.region import filled, gauge, is_live, print_above, region

_WIDTH = 20  # of the bar


class SweepBar(Protocol):
    """live: whether `update` shows anything."""

    live: bool

    def line(self, text: str) -> None:
        """Print a line."""

    def notice(self, text: str) -> None:
        """Show a line. A signal handler may call it."""

    def update(self, ended: int, training: str) -> None:
        """Show how many trials have ended, and what trains."""


def beginning(space: Space, folder: Path, jobs: int, threads: int | None) -> list[str]:
    """The lines that begin a sweep. jobs: runs at a time; threads: of each, None if the config names a number."""
    trials = "1 trial" if space.trials == 1 else f"{space.trials} trials"
    runs = f", {len(space.seeds)} runs each" if len(space.seeds) > 1 else ""
    cores = f"{threads} threads" if threads != 1 else "1 thread"
    shared = f", {jobs} at a time with {cores} each" if jobs > 1 and threads else ""
    lines = [f"sweep: {trials} ({space.method}){runs}{shared}: {folder}"]
    if keys := unchecked_names(space.over):
        lines.append(f"names in {listed(keys)} are looked up when a run starts: an unknown one fails its trial")
    return lines


@contextmanager
def sweep_progress(total: int) -> Iterator[SweepBar]:
    """Lines on stderr, and a bar below them if it is a terminal. total: the number of trials."""
    if not is_live(sys.stderr):
        yield _SweepLines(sys.stderr)
        return
    shown = _SweepRegion(sys.stderr, total)
    with shown.region:
        yield shown


class _SweepLines:
    live = False

    def __init__(self, stream: TextIO | None):
        self._stream = stream

    def line(self, text: str) -> None:
        # The sweep goes on if stderr was closed, which is a ValueError if this process did it.
        with suppress(OSError, ValueError):
            if self._stream is not None:
                print(escaped(text), file=self._stream, flush=True)

    def notice(self, text: str) -> None:
        write_at_once(text)

    def update(self, ended: int, training: str) -> None:
        pass


class _SweepRegion:
    live = True

    def __init__(self, stream: TextIO, total: int):
        self._total, self._ended, self._training, self._notice = total, 0, "", ""
        self.region = region(self, stream, transient=True)

    def line(self, text: str) -> None:
        print_above(self.region, text)

    def notice(self, text: str) -> None:
        self._notice = text

    def update(self, ended: int, training: str) -> None:
        self._ended, self._training = ended, training

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """The region's lines."""
        bar = gauge(self._ended / self._total, _WIDTH, ascii_only=options.ascii_only)
        lines = filled([f"{self._ended}/{self._total} trials", bar, escaped(self._training)], options.max_width)
        for line in [*lines, self._notice]:
            if line:
                yield Text(line, overflow="fold", no_wrap=False)
