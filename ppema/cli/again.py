"""The command line of a run, written out again with some of it changed: it can be pasted into the same shell."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Sequence

from ppema.errors import Remedy


def launched(argv: Sequence[str] | None, prog: str) -> list[str]:
    """What this process's command line begins with, up to the command's arguments.

    argv, prog: as `main` of the command was given them. Words of `prog` where the process was started for something else.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    begin = len(sys.orig_argv) - len(words)
    if begin < 1 or sys.orig_argv[begin:] != words:
        return prog.split()
    found = sys.orig_argv[:begin]
    # A console script is run by the Python that its first line names, and typed without it.
    if len(found) > 1 and os.path.basename(found[1]) == "ppema":
        script = found[1]
        return ["ppema" if shutil.which("ppema") == script else script, *found[2:]]
    return found


def with_remedy(launcher: Sequence[str], arguments: argparse.Namespace, remedy: Remedy) -> str:
    """The command that trains as `arguments` say, but for what `remedy` changes."""
    resume = arguments.resume if remedy.resume is None else remedy.resume
    extend = arguments.extend if remedy.extend is None else remedy.extend
    command = [*launcher, "-c", arguments.config]
    for override in (*arguments.override, *remedy.overrides):
        command += ["-o", override]
    command += ["--resume", resume] if resume != "auto" else []
    command += ["--extend"] if extend else []
    command += ["--json"] if arguments.json else []
    return shlex.join(command)
