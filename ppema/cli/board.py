"""ppema board: show the curves of runs in VisualDL, in a browser on this machine."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from ppema.cli.common import run, say


def main(argv: Sequence[str] | None = None, prog: str = "ppema board") -> int:
    """Run the command until Ctrl-C, and return its exit code: 0 ended by Ctrl-C, 1 the server ended, 2 bad input."""
    made = argparse.ArgumentParser(prog=prog, description="Show the curves of runs in VisualDL, until Ctrl-C.")
    made.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="a run's output folder, or a sweep's: all its trials")
    made.add_argument("--port", type=int, help="the port of the page (default: a free one)")
    made.add_argument(
        "--host", default="127.0.0.1", help="the address that serves the page (default: 127.0.0.1, this machine alone)"
    )
    return run(_board, made, argv)


def _board(arguments: argparse.Namespace) -> int:
    from ppema.errors import listed
    from ppema.experiments.shown_runs import look_at
    from ppema.log.board_server import serving

    signal.signal(signal.SIGTERM, _as_ctrl_c)
    try:
        with serving(look_at(arguments.runs), arguments.host, arguments.port) as server:
            say(f"showing {listed(server.runs)}\n{server.address}\nCtrl-C ends it")
            server.wait()
    except KeyboardInterrupt:
        return 0
    say("VisualDL's server has ended", sys.stderr)
    return 1


def _as_ctrl_c(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(prog="python -m ppema.cli.board"))
