"""The command line of a run, written again with changes, so that a user can paste it into the same shell."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence

from ppema.errors import Remedy

LAUNCHED_BY = "PPEMA_LAUNCHED_BY"  # the environment variable with the words of `ppema launch` before the script, as JSON


def launched(argv: Sequence[str] | None, prog: str) -> list[str]:
    """The words of this process's command line before the command's arguments.

    argv, prog: the arguments of the command's `main`. If the process was started for another purpose: the words of `prog`.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    begin = len(sys.orig_argv) - len(words)
    if begin < 1 or sys.orig_argv[begin:] != words:
        return prog.split()
    found = sys.orig_argv[:begin]
    if "PADDLE_TRAINER_ID" in os.environ:  # Paddle's launcher adds -u
        found = [word for word in found if word != "-u"]
    # A user types a console script without the Python in its first line, which runs it.
    if len(found) > 1 and os.path.basename(found[1]) == "ppema":
        script = found[1]
        return ["ppema" if shutil.which("ppema") == script else script, *found[2:]]
    return found


def on_all_ranks(launcher: Sequence[str]) -> list[str]:
    """The words that start the command of `launcher` as `ppema launch` did; `launcher` itself without that."""
    words = json.loads(os.environ.get(LAUNCHED_BY, "[]"))
    # Paddle's launcher finds the Python for a script itself; anything else it runs as it is.
    if words and len(launcher) > 1 and launcher[1].endswith(".py"):
        return [*words, *launcher[1:]]
    return [*words, *launcher]


def beside(launcher: Sequence[str], command: str) -> list[str]:
    """The words that start `command` as those of `launcher` start `train` or `sweep`."""
    return [*launcher[:-1], re.sub(r"(train|sweep)(\.py)?$", rf"{command}\2", launcher[-1])]


def command_line(arguments: argparse.Namespace, overrides: Sequence[str] = ()) -> list[str]:
    """The words of the config and its overrides. overrides: further ones."""
    return ["-c", arguments.config, *(word for each in (*arguments.override, *overrides) for word in ("-o", each))]


def with_remedy(launcher: Sequence[str], arguments: argparse.Namespace, remedy: Remedy) -> str:
    """The command that trains with `arguments` and the changes in `remedy`, on as many ranks, quoted for a shell."""
    resume = arguments.resume if remedy.resume is None else remedy.resume
    extend = arguments.extend if remedy.extend is None else remedy.extend
    command = [*on_all_ranks(launcher), *command_line(arguments, remedy.overrides)]
    command += ["--resume", resume] if resume != "auto" else []
    command += ["--extend"] if extend else []
    command += ["--json"] if arguments.json else []
    return shlex.join(command)


def on_terminal(label: str, command: str) -> str:
    """`label` and a command for stdout. On a terminal it is continued on further lines, which can be pasted as they are.

    A flag stays with its value. Words are never broken: a long one may be wider than the terminal.
    """
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    if width is None or len(label) + len(command) <= width:
        return label + command
    words: list[str] = []
    for word in map(shlex.quote, shlex.split(command)):
        if words and words[-1].startswith("-") and " " not in words[-1] and not word.startswith("-"):
            words[-1] += f" {word}"
        else:
            words.append(word)
    lines = [label]
    for word in words:
        if lines[-1].strip() and len(lines[-1]) + len(word) + len(" \\") > width:
            lines[-1] += "\\"
            lines.append("    ")
        lines[-1] += f"{word} "
    return "\n".join(lines).rstrip()
