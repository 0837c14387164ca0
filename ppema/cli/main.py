"""The console script `ppema` and `python -m ppema`: the first argument names the command, the others are passed to it."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from ppema.version import VERSION

COMMANDS = {
    "train": "train the model of a config",
    "launch": "train with several processes, and again after a failure",
    "sweep": "train a config at many points of a search space",
    "eval": "measure the raw weights and the averages of a checkpoint",
    "predict": "predict with a run's model: classes, probabilities, numbers",
    "show": "show the programs of a config, its schema, or the curves of a run",
    "average": "build averages of any length from a finished run",
    "compare": "tell which of several runs is better, raw or averaged",
    "report": "write a run or a sweep as one file of HTML, for a colleague",
    "export": "write weights to a file for other programs",
    "board": "show the curves of runs in VisualDL, in a browser",
    "checkpoint": "list, verify, compare and prune the checkpoints of a run",
    "doctor": "check this installation, and print a table for a bug report",
    "benchmark": "measure the cost of ppema on this machine; needs a checkout",
}


def main(argv: Sequence[str] | None = None, prog: str = "ppema") -> int:
    """Run the command in `argv[0]` with the other arguments, and return its exit code.

    argv: by default that of this process. prog: the program's name in usage lines. Exits with 2 for an unknown command, and
    with 0 after --help and --version.
    """
    if argv is None:
        _leave_folder_of_script()
    arguments = list(sys.argv[1:] if argv is None else argv)
    made = argparse.ArgumentParser(
        prog=prog,
        usage=f"{prog} COMMAND ...",
        description="Static-graph training for PaddlePaddle, with averages of weights that can be trusted.",
        epilog="commands:\n"
        + "\n".join(f"  {name:<12}{purpose}" for name, purpose in COMMANDS.items())
        + f"\n\n{prog} COMMAND --help lists the command's arguments.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("command", metavar="COMMAND", type=_command, help="one of those below")
    made.add_argument("--version", action="version", version=f"ppema {VERSION}")
    command = made.parse_args(arguments[:1]).command
    module = importlib.import_module(f"ppema.cli.{command}")
    return module.main(arguments[1:], f"{prog} {command}")


def _command(name: str) -> str:
    if name in COMMANDS:
        return name
    import difflib

    near = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(COMMANDS)}"
    raise argparse.ArgumentTypeError(f"unknown command {name!r}; {hint}")


def _leave_folder_of_script() -> None:
    """Remove the folder of the console script, which Python puts first, from its path: see `ppema.user_code.modules`."""
    folder = os.path.dirname(os.path.realpath(sys.argv[0]))
    if sys.path and os.path.realpath(sys.path[0]) == folder:
        del sys.path[0]
