"""Draws lines at the bottom of a terminal again and again, below what is printed."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from textwrap import wrap
from typing import Any, TextIO, cast

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from ppema.errors import escaped

_PER_SECOND = 4  # redraws


def is_live(stream: TextIO | None) -> bool:
    """Whether lines on `stream` can be drawn again: it is a terminal whose cursor can be moved. None: it was closed."""
    return stream is not None and not stream.closed and stream.isatty() and Console(file=stream).is_interactive


def region(drawn: RenderableType, stream: TextIO, *, transient: bool = False) -> Live:
    """A region of the terminal `stream` that shows `drawn`, whose lines may change. transient: it vanishes at its end."""
    return Live(
        drawn,
        # Printed lines are not broken, so that a path in them can be copied.
        console=_Console(file=cast(TextIO, _Patient(stream)), soft_wrap=True),
        refresh_per_second=_PER_SECOND,
        transient=transient,
        # What a user's code prints on a stdout that is no terminal belongs there.
        redirect_stdout=sys.stdout.isatty(),
        vertical_overflow="crop",
    )


def print_above(shown: Live, text: str) -> None:
    """Print a line above the region `shown`."""
    # Words longer than a line, such as paths, stay in one piece, which can be copied.
    lines = wrap(escaped(text), shown.console.width, break_long_words=False, break_on_hyphens=False)
    shown.console.print(Text("\n".join(lines)))


class _Console(Console):
    """A console whose cursor is never hidden, since a killed process could not show it again."""

    def show_cursor(self, show: bool = True) -> bool:
        return False


class _Patient:
    """A stream that is written to until that fails, since training continues if the terminal is closed."""

    def __init__(self, stream: TextIO):
        self._stream, self._closed = stream, False

    def write(self, text: str) -> int:
        if not self._closed:
            try:
                self._stream.write(text)
                self._stream.flush()
            except OSError:
                self._closed = True
        return len(text)

    def flush(self) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def gauge(share: float, width: int, *, ascii_only: bool) -> str:
    """A bar of which `share` is filled. width: in characters."""
    done = min(math.floor(share * width), width)
    return "#" * done + "-" * (width - done) if ascii_only else "━" * done + "─" * (width - done)


def filled(words: Sequence[str], width: int) -> list[str]:
    """The words, with two spaces between them, in lines that are at most as long as `width` if each word is."""
    lines: list[str] = []
    for word in words:
        if lines and cell_len(lines[-1]) + 2 + cell_len(word) <= width:
            lines[-1] += f"  {word}"
        else:
            lines.append(word)
    return lines


def clock(seconds: float) -> str:
    """A time as h:mm:ss."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
