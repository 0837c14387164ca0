"""The common parts of all command lines: arguments, exit codes, and the order in which paddle is set up."""

from __future__ import annotations

import argparse
import errno
import functools
import io
import os
import shutil
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from ppema.errors import PeerError, PpemaError, escaped
from ppema.log.terminal.aligned import aligned
from ppema.ranks import launched_ranks, note_end

if TYPE_CHECKING:
    from ppema.config import Config


class _Parser(argparse.ArgumentParser):
    """A parser whose errors show how to name the config."""

    def error(self, message: str) -> NoReturn:
        files = [word for word in message.split() if word.endswith((".yml", ".yaml"))]
        if "-c/--config" in message or (files and message.startswith("unrecognized arguments")):
            message += f"; name the experiment's YAML file: {self.prog} -c {files[0] if files else 'CONFIG'}"
        super().error(message)


def parser(prog: str, description: str, *, required: bool = True) -> argparse.ArgumentParser:
    """A parser with the arguments for a config. prog: the command's name in usage lines; required: whether -c is."""
    made = _Parser(prog=prog, description=description)
    made.add_argument("-c", "--config", metavar="CONFIG", required=required, help="the experiment's YAML file")
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
    """Add the argument --json, for programs that read the result."""
    made.add_argument("--json", action="store_true", help="print the result as one JSON object, the last line of stdout")


def add_debug(made: argparse.ArgumentParser, default: Any = False) -> None:
    """Add the argument --debug, which shows the origin of an error. default: `argparse.SUPPRESS` in a subcommand."""
    text = "print the whole traceback of an error before its message"
    made.add_argument("--debug", action="store_true", default=default, help=text)


def load(arguments: argparse.Namespace) -> Config:
    """Load the config of the arguments, and paddle with the config's thread count. Raises PpemaError."""
    from ppema.config import load_config
    from ppema.environment import choose_threads, load_paddle

    if not arguments.config:
        raise PpemaError("-c CONFIG is missing: name the experiment's YAML file")
    config = load_config(arguments.config, arguments.override)
    choose_threads(config.runtime.threads)
    load_paddle()
    return config


def flag(argument: str) -> str:
    """The flag of a command line for the `argument` of a library call."""
    return {"config": "-c", "override": "-o"}.get(argument, f"--{argument.replace('_', '-')}")


def print_json(value: Any) -> None:
    """Print `value` as one line of JSON on stdout."""
    from ppema.log.records import to_json

    print(to_json(value), flush=True)


def say(text: str, stream: TextIO | None = None) -> None:
    """Print each line of `text`, on stdout by default. Control characters of terminals are escaped."""
    print("\n".join(map(escaped, text.split("\n"))), file=stream, flush=True)


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print aligned columns on stdout, as `aligned` does in the width of the terminal."""
    for line in aligned(head, rows, shutil.get_terminal_size().columns if sys.stdout.isatty() else None):
        print(line)


def _one_line(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object, **__: object) -> str:
    """The text of a warning, without its place in the code."""
    return f"warning: {message}\n"


def run(
    command: Callable[[argparse.Namespace], int],
    made: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    *,
    by_ranks: bool = False,
) -> int:
    """Parse `argv`, run `command`, and return its exit code. An error becomes one line per problem.

    by_ranks: whether several ranks share the work; rank 0 alone then prints, apart from errors. Other commands refuse ranks.

    Ctrl-C returns 130. A reader of the output that has ended, as in `| head`, returns 141, like other tools that SIGPIPE ends.
    """
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    warnings.formatwarning = _one_line
    add_debug(made)
    arguments = made.parse_args(argv)
    note_end(None)
    with _ctrl_c() as pressed:
        code = _code(functools.partial(_on_rank, command, made.prog, by_ranks), arguments, pressed)
    code = 130 if pressed and code in (1, 2, 128 + signal.SIGPIPE) else code
    note_end(code)
    return code


def _open_closed_streams() -> None:
    """Open the null device in place of closed standard streams. Otherwise the next file would get the number of a stream."""
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
    """A list that is empty until Ctrl-C is pressed. Ctrl-C still raises KeyboardInterrupt.

    The list is needed because Paddle, while it builds a program, replaces KeyboardInterrupt by an error of its own.
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


def _on_rank(command: Callable[[argparse.Namespace], int], prog: str, by_ranks: bool, arguments: argparse.Namespace) -> int:
    """Run `command`. What it prints is dropped, except on rank 0. Raises PpemaError if it is not meant for ranks."""
    ranks = launched_ranks()
    if ranks.size > 1 and not by_ranks:
        raise PpemaError(f"{prog} works in one process: start it without paddle.distributed.launch")
    if ranks.first:
        return command(arguments)
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        return command(arguments)


def _code(command: Callable[[argparse.Namespace], int], arguments: argparse.Namespace, pressed: list[int]) -> int:
    """Run `command`, and return its exit code. Errors are printed unless Ctrl-C was pressed."""
    try:
        code = command(arguments)
        sys.stdout.flush()
        return code
    except PpemaError as error:
        if not pressed:
            if arguments.debug:
                from ppema.user_code.blame import whole_traceback

                say(whole_traceback(error), sys.stderr)
            line = error.worded(flag)
            if isinstance(error, PeerError):
                line = line.removeprefix(error.written).removeprefix(". ")
            if line:
                say(line, sys.stderr)
        return error.exit_code
    except MemoryError as error:
        return _out_of_memory(error)
    except RuntimeError as error:
        if str(error) != "can't start new thread":
            raise
        return _out_of_memory(error)
    except BrokenPipeError:
        # The reader of the output has ended. Python's own flush at exit must not report that again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
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
    detail = f": {error}" if str(error) else ""
    print(f"there is not enough memory{detail}", file=sys.stderr)
    return 1
