"""Shows the progress of predictions on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def counted(total: int | None, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """A function that takes the number of samples done, and shows it in a bar on stderr, if that is a terminal and `shown`.

    total: the number of samples; None if it is not known.
    """
    if not (shown and sys.stderr.isatty()):
        yield lambda done: None
        return
    count = TextColumn("{task.completed}" if total is None else "{task.completed}/{task.total}")
    columns = (count, TextColumn("samples"), BarColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as bar:
        task = bar.add_task("", total=total, rate="")

        def update(done: int) -> None:
            speed = bar.tasks[0].speed
            bar.update(task, completed=done, rate="" if speed is None else f"{speed:.0f} samples/s")

        yield update
