"""ppema report: one file of HTML for a run or a sweep, with curves, tables, config and environment."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ppema.cli.common import add_json, print_json, run, say


def main(argv: Sequence[str] | None = None, prog: str = "ppema report") -> int:
    """Run the command, and return its exit code: 0 done, 1 the file could not be written, 2 bad input."""
    made = argparse.ArgumentParser(
        prog=prog,
        description="Write the report of a run or a sweep: one file without a server or network. The run may still go on.",
    )
    made.add_argument("path", type=Path, metavar="RUN|SWEEP", help="the output folder of a run, or the folder of a sweep")
    made.add_argument("--to", type=Path, metavar="FILE", help="the file to write (default: report.html in that folder)")
    add_json(made)
    return run(_report, made, argv)


def _report(arguments: argparse.Namespace) -> int:
    from ppema.experiments.pages.report_page import report

    file = report(arguments.path, arguments.to)
    say(f"report: {file}")
    if arguments.json:
        print_json({"report": str(file)})
    return 0


if __name__ == "__main__":
    sys.exit(main(prog="python -m ppema.cli.report"))
