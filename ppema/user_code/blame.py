"""Describes an error outside ppema in one line: its type, its text, and the line of the user's code that raised it."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from ppema.errors import ConfigError, PpemaError, one_line

_OURS = str(Path(__file__).resolve().parents[1])
_INSTALLED = re.compile(r"[/\\](site|dist)-packages[/\\]")
# Paddle's report of a failed operation lists the frames that built the operation, innermost last.
_REPORTED = re.compile(r'^\s*File "(.+)", line (\d+), in ', re.MULTILINE)


def blamed(error: BaseException) -> str:
    """`one_line(error)` with the user's file and line, as in "ValueError: no such picture (pictures.py:31)".

    The file and line are those of the innermost frame outside Python, Paddle, ppema and installed packages; they are omitted
    if there is none. A missing file is shown with its absolute path.
    """
    text, place = one_line(error), _place(error)
    if isinstance(error, SyntaxError) and error.filename:
        text = f"{type(error).__name__}: {error.msg}"
    elif isinstance(error, FileNotFoundError) and isinstance(error.filename, str) and not os.path.isabs(error.filename):
        text = f"{type(error).__name__}: {error.strerror}: {os.path.abspath(error.filename)!r}"
    return f"{text} ({place})" if place else text


def whole_traceback(error: BaseException) -> str:
    """The traceback as Python prints it, causes first. The text ends with a newline."""
    return "".join(traceback.format_exception(error))


def in_foreign_code(error: BaseException) -> bool:
    """Whether `error`, or its first cause, is no PpemaError. Only then does the traceback add anything to the text."""
    while isinstance(error, PpemaError) and error.__cause__ not in (None, error):
        error = error.__cause__
    return not isinstance(error, PpemaError)


def _place(error: BaseException) -> str | None:
    """file:line of the user's code, or None. A file in the working directory is shown relative to it."""
    found = _innermost(_frames(error))
    return f"{_short(found[0])}:{found[1]}" if found else None


def _frames(error: BaseException) -> Iterator[tuple[str, int]]:
    """File and line of each frame, innermost last: of the traceback, then of Paddle's report."""
    yield from ((frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__))
    if "In user code:" in str(error):
        yield from ((file, int(line)) for file, line in _REPORTED.findall(str(error)))
    if isinstance(error, SyntaxError) and error.filename:
        yield error.filename, error.lineno or 0


def _innermost(frames: Iterable[tuple[str, int]]) -> tuple[str, int] | None:
    """The last frame of the user's code after ppema's first one. Frames before that only call ppema; they are not at fault."""
    found, called = None, False
    for file, line in frames:
        called = called or _within(file, _OURS)
        if called and _is_users(file):
            found = (file, line)
    return found


def _is_users(file: str) -> bool:
    if file.startswith("<") or _INSTALLED.search(file):
        return False
    return not any(_within(file, folder) for folder in _foreign())


def _foreign() -> list[str]:
    """The folders of Python, of ppema, and of Paddle, which may be a build outside site-packages."""
    paddle = getattr(sys.modules.get("paddle"), "__file__", None)
    return [*_python(), _OURS, *([os.path.dirname(paddle)] if paddle else [])]


@lru_cache(maxsize=1)
def _python() -> tuple[str, ...]:
    return tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib")})


def _within(file: str, folder: str) -> bool:
    return file.startswith(folder + os.sep)


def _short(file: str) -> str:
    try:
        return os.path.relpath(file) if _within(file, os.getcwd()) else file
    except OSError:
        return file


@contextmanager
def building(*path: str | int, about: str = "") -> Iterator[None]:
    """Turns an exception of the user's code into a ConfigError of one line at `path`. about: the start of that line."""
    try:
        yield
    except ConfigError as error:
        if not path:
            raise
        raise ConfigError([type(p)((*path, *p.path), p.message) for p in error.problems]) from error
    except (Exception, SystemExit) as error:
        raise ConfigError.of(f"{about}: {blamed(error)}" if about else blamed(error), *path) from error
