"""ppema launch: train with several processes by Paddle's launcher, and start again after a failure."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from ppema.cli.common import run, say
from ppema.cli.pasted.again import LAUNCHED_BY, launched
from ppema.distributed.launching.launcher import End, Launcher
from ppema.distributed.launching.launcher_options import EXAMPLE, check_master, check_script, launcher_options, machines
from ppema.distributed.launching.log_folder import log_folder
from ppema.errors import PpemaError, SetupError


class _LaunchParser(argparse.ArgumentParser):
    """A parser whose errors show where the arguments of Paddle's launcher belong."""

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments"):
            message += f"; the options of Paddle's launcher, a script and its arguments follow --: {self.prog} -- {EXAMPLE}"
        super().error(message)


def main(argv: Sequence[str] | None = None, prog: str = "ppema launch") -> int:
    """Run the command, and return its exit code: 0 done, 1 failed, 2 bad input, 130 and 143 stopped by a signal."""
    made = _LaunchParser(
        prog=prog,
        usage=f"{prog} [--restarts N] -- ARGUMENTS",
        description="Start several processes of one command by Paddle's launcher. What rank 0 writes is shown.",
    )
    again = "start again after a failure, N times at most; not after a mistake in the input, nor after a stop by a signal"
    made.add_argument("--restarts", type=int, default=0, metavar="N", help=again)
    theirs = f"those of python -m paddle.distributed.launch: {EXAMPLE}"
    made.add_argument("arguments", nargs="*", metavar="ARGUMENTS", help=theirs)
    return run(partial(_launch, launched(argv, prog)), made, argv)


def _launch(typed: Sequence[str], arguments: argparse.Namespace) -> int:
    given, restarts = list(arguments.arguments), arguments.restarts
    if not given:
        raise PpemaError(f"the arguments of Paddle's launcher are missing: -- {EXAMPLE}")
    if restarts < 0:
        raise PpemaError(f"--restarts: expected an integer >= 0, got {restarts}")
    if importlib.util.find_spec("paddle") is None:
        raise SetupError("paddle is not installed: pip install -r requirements.txt (CPU) or requirements-gpu.txt")
    options, script = launcher_options(given)
    check_script(script[0])
    check_master(options)
    logs = Path(options.get("log_dir", "log"))
    with log_folder(logs, given):
        if (number := machines(options)) != "1":
            say(f"the job begins once this command runs on {number} machines", sys.stderr)
        # Of an argument that is given twice, the launcher takes the second one.
        argv = ["--log_level", "CRITICAL", "--log_dir", str(logs), *given]
        words = [*typed, *(["--restarts", str(restarts)] if restarts else []), "--", *given[: -len(script)]]
        launcher = Launcher(argv, logs, {LAUNCHED_BY: json.dumps(words)}, debug=arguments.debug)
        return _job(launcher, restarts)


def _job(launcher: Launcher, restarts: int) -> int:
    end, starts = launcher.run(), 0
    while end.code not in (0, 2) and not end.stopped and starts < restarts:
        starts += 1
        _show(end)
        say(f"the job failed: restart {starts} of {restarts}", sys.stderr)
        end = launcher.run()
    _show(end)
    return end.code


def _show(end: End) -> None:
    if end.line:
        say(end.line, sys.stderr)


if __name__ == "__main__":
    sys.exit(main(prog="python -m ppema.cli.launch"))
