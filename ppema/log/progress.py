"""Shows the progress of a run to people: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ppema.errors import escaped


class Bar(Protocol):
    """Shows lines, and the run's progress between them."""

    def update(self, step: int, loss: float, lr: float, rate: float) -> None: ...
    def line(self, text: str) -> None: ...


@contextmanager
def progress(total: int, start: int) -> Iterator[Bar]:
    """A progress bar with loss, rate, learning rate and remaining time on a terminal; only the lines elsewhere.

    total: the number of steps of the run; start: the steps already done.
    """
    stream = sys.stderr
    if not stream.isatty():
        yield _Lines(stream)
        return
    columns = (
        TextColumn("step {task.completed}/{task.total}"),
        BarColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(file=stream), transient=True) as shown:
        task = shown.add_task("", total=total, completed=start, figures="")
        yield _Terminal(shown, task)


class _Lines:
    def __init__(self, stream: TextIO):
        self._stream = stream

    def update(self, step: int, loss: float, lr: float, rate: float) -> None:
        pass

    def line(self, text: str) -> None:
        # Training continues if stderr was closed.
        with suppress(OSError):
            print(escaped(text), file=self._stream, flush=True)


class _Terminal:
    def __init__(self, shown: Progress, task: Any):
        self._shown = shown
        self._task = task

    def update(self, step: int, loss: float, lr: float, rate: float) -> None:
        figures = f"loss {loss:.4f}  lr {lr:.4g}  {rate:.0f} samples/s"
        self._shown.update(self._task, completed=step, figures=figures)

    def line(self, text: str) -> None:
        self._shown.console.print(escaped(text), markup=False, highlight=False)
