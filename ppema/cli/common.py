"""What every command line shares: its arguments, its exit codes, and the order in which paddle is set up."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ppema.errors import PpemaError

if TYPE_CHECKING:
    from ppema.config import Config


def parser(prog: str, description: str) -> argparse.ArgumentParser:
    """A parser with the arguments that name a config."""
    made = argparse.ArgumentParser(prog=f"python tools/{prog}.py", description=description)
    made.add_argument("-c", "--config", metavar="CONFIG", help="the experiment's YAML file")
    made.add_argument(
        "-o",
        "--override",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="set a key of the config, such as train.epochs=3",
    )
    return made


def add_json(made: argparse.ArgumentParser) -> None:
    """The argument for programs that read the result."""
    made.add_argument("--json", action="store_true", help="print the result as one JSON object, the last line of stdout")


def load(arguments: argparse.Namespace) -> Config:
    """The config that the arguments name, with paddle loaded under its thread count. Raises PpemaError."""
    from ppema.config import load_config
    from ppema.environment import load_paddle, set_threads

    if not arguments.config:
        raise PpemaError("-c CONFIG is missing: name the experiment's YAML file")
    config = load_config(arguments.config, arguments.override)
    # What a config names by dotted path may lie in the folder one works in.
    sys.path.append(os.getcwd())
    set_threads(None if config.runtime.threads == "auto" else config.runtime.threads)
    load_paddle()
    return config


def print_json(value: Any) -> None:
    """`value` as one line; NaN and infinities, which JSON lacks, become null."""
    print(json.dumps(_finite(value)), flush=True)


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Aligned columns on stdout, the first to the left and the others to the right."""
    cells = [list(head), *([f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    for row in cells:
        aligned = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join([row[0].ljust(widths[0]), *aligned[1:]]).rstrip())


def run(command: Callable[[argparse.Namespace], int], made: argparse.ArgumentParser, argv: Sequence[str] | None) -> int:
    """Parse, run, and turn errors into one line per problem and their exit code; Ctrl-C is 130."""
    arguments = made.parse_args(argv)
    try:
        return command(arguments)
    except PpemaError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except KeyboardInterrupt:
        return 130


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and value - value != 0 else value
