"""The command line of a run, written out again with some of it changed: it can be pasted into the same shell."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence

from ppema.errors import Remedy


def launched(argv: Sequence[str] | None) -> list[str]:
    """The part of this process's command line before its arguments; argv: as `main` was given it."""
    if argv is not None:
        return ["python", "tools/train.py"]
    return sys.orig_argv[: len(sys.orig_argv) - len(sys.argv[1:])]


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
