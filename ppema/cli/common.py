"""What every command line shares: its arguments, its exit codes, and the order in which paddle is set up."""

from __future__ import annotations

import argparse
import errno
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from ppema.errors import PpemaError, escaped

if TYPE_CHECKING:
    from ppema.config import Config


def parser(prog: str, description: str) -> argparse.ArgumentParser:
    """A parser with the arguments that name a config. prog: what usage lines call the command."""
    made = argparse.ArgumentParser(prog=prog, description=description)
    made.add_argument("-c", "--config", metavar="CONFIG", help="the experiment's YAML file")
    made.add_argument(
        "-o",
        "--override",
        metavar="KEY=VALUE",
        action="extend",
        nargs="+",
        default=[],
        help="set keys of the config, such as train.epochs=3 lr=0.1; -o may be repeated",
    )
    return made


def add_json(made: argparse.ArgumentParser) -> None:
    """The argument for programs that read the result."""
    made.add_argument("--json", action="store_true", help="print the result as one JSON object, the last line of stdout")


def add_debug(made: argparse.ArgumentParser, default: Any = False) -> None:
    """The argument that shows where an error arose. default: of a subcommand, beside the command's own, `argparse.SUPPRESS`."""
    said = "print the whole traceback of an error before the line that says it"
    made.add_argument("--debug", action="store_true", default=default, help=said)


def load(arguments: argparse.Namespace) -> Config:
    """The config that the arguments name, with paddle loaded under its thread count. Raises PpemaError."""
    from ppema.config import load_config
    from ppema.environment import choose_threads, load_paddle

    if not arguments.config:
        raise PpemaError("-c CONFIG is missing: name the experiment's YAML file")
    config = load_config(arguments.config, arguments.override)
    choose_threads(config.runtime.threads)
    load_paddle()
    return config


def flag(argument: str) -> str:
    """What a command line calls the `argument` of a library call."""
    return {"config": "-c", "override": "-o"}.get(argument, f"--{argument.replace('_', '-')}")


def print_json(value: Any) -> None:
    """`value` as one line of JSON on stdout."""
    from ppema.log.records import to_json

    print(to_json(value), flush=True)


def say(text: str, stream: TextIO | None = None) -> None:
    """Print each line of `text`, on stdout by default, without a character that a terminal would obey."""
    print("\n".join(map(escaped, text.split("\n"))), file=stream, flush=True)


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Aligned columns on stdout, numbers to the right and words to the left."""
    cells = [list(head), *([f"{cell:.4f}" if isinstance(cell, float) else escaped(str(cell)) for cell in row] for row in rows)]
    columns = []
    for column in zip(*cells, strict=True):
        width = max(map(len, column))
        number = all(cell.replace(",", "").replace(".", "").isdecimal() or cell in ("nan", "-") for cell in column[1:])
        columns.append([cell.rjust(width) if number else cell.ljust(width) for cell in column])
    for row in zip(*columns, strict=True):
        print("  ".join(row).rstrip())


def _one_line(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object, **__: object) -> str:
    """A warning without the line of our code that it comes from."""
    return f"warning: {message}\n"


def run(command: Callable[[argparse.Namespace], int], made: argparse.ArgumentParser, argv: Sequence[str] | None) -> int:
    """Parse, run, and turn errors into one line per problem and their exit code; Ctrl-C is 130."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    warnings.formatwarning = _one_line
    add_debug(made)
    arguments = made.parse_args(argv)
    with _ctrl_c() as pressed:
        code = _code(command, arguments, pressed)
    return 130 if pressed and code in (1, 2) else code


def _open_closed_streams() -> None:
    """Open the null device in place of standard streams that are closed: the next file would be what others take for them."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


@contextmanager
def _ctrl_c() -> Iterator[list[int]]:
    """A list that is empty until Ctrl-C is pressed, which raises KeyboardInterrupt as ever.

    Where that comes in the middle of Paddle's building of a program, Paddle makes an error of its own of it.
    """
    pressed: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return

    def note(number: int, frame: object) -> None:
        pressed.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _code(command: Callable[[argparse.Namespace], int], arguments: argparse.Namespace, pressed: list[int]) -> int:
    """The exit code of `command`, whose errors are told unless Ctrl-C was pressed."""
    try:
        code = command(arguments)
        sys.stdout.flush()
        return code
    except PpemaError as error:
        if not pressed:
            if arguments.debug:
                from ppema.user_code.blame import whole_traceback

                say(whole_traceback(error), sys.stderr)
            say(error.worded(flag), sys.stderr)
        return error.exit_code
    except MemoryError as error:
        return _out_of_memory(error)
    except RuntimeError as error:
        if str(error) != "can't start new thread":
            raise
        return _out_of_memory(error)
    except BrokenPipeError:
        # Whoever read the output has gone; Python's own flush at exit must not say so again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno == errno.ENOMEM:
            return _out_of_memory(error)
        if error.filename is not None:
            raise
        print(f"the output can not be written: {error}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def _out_of_memory(error: Exception) -> int:
    said = f": {error}" if str(error) else ""
    print(f"there is not enough memory{said}", file=sys.stderr)
    return 1
