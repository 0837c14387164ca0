"""Shows the progress of a sweep: a line for each trial, and on a terminal the trials in training below them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from ppema.errors import escaped


class SweepBar(Protocol):
    """live: whether `update` shows anything."""

    live: bool

    def line(self, text: str) -> None: ...
    def update(self, ended: int, training: str) -> None: ...


@contextmanager
def sweep_progress(total: int) -> Iterator[SweepBar]:
    """Lines on stderr, and a bar below them if it is a terminal. total: the number of trials."""
    if not sys.stderr.isatty():
        yield _SweepLines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.completed}/{task.total} trials"),
        BarColumn(bar_width=20),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as shown:
        yield _SweepTerminal(shown, shown.add_task("", total=total))


class _SweepLines:
    live = False

    def line(self, text: str) -> None:
        # The sweep goes on if stderr was closed.
        with suppress(OSError):
            print(escaped(text), file=sys.stderr, flush=True)

    def update(self, ended: int, training: str) -> None:
        pass


class _SweepTerminal:
    live = True

    def __init__(self, shown: Any, task: Any):
        self._shown = shown
        self._task = task

    def line(self, text: str) -> None:
        self._shown.console.print(escaped(text), markup=False, highlight=False)

    def update(self, ended: int, training: str) -> None:
        self._shown.update(self._task, completed=ended, description=escaped(training))
