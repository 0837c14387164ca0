"""tools/benchmark.py: what ppema costs on this machine, as ratios measured side by side."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ppema.cli.common import add_json, print_json, print_table, run
from ppema.errors import PpemaError


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 done, 2 bad input."""
    made = argparse.ArgumentParser(
        prog="python tools/benchmark.py",
        description="Measure what ppema costs on this machine, beside what it is to match.",
    )
    commands = made.add_subparsers(dest="command", required=True, metavar="checkpoint")
    checkpoint = commands.add_parser("checkpoint", help="the loop's wait for a checkpoint, and the speed of writing it")
    checkpoint.add_argument("--folder", type=Path, default=Path(), help="where to write, 3 GB at most (default: here)")
    checkpoint.add_argument("--rounds", type=int, default=15, metavar="N", help="how often to measure (default: 15, the least)")
    checkpoint.add_argument("--threads", default="auto", metavar="N", help="OpenMP threads (default: the machine's cores)")
    add_json(checkpoint)
    return run(_benchmark, made, argv)


def _benchmark(arguments: argparse.Namespace) -> int:
    from ppema.environment import choose_threads, load_paddle

    if arguments.threads != "auto" and not (arguments.threads.isdecimal() and int(arguments.threads) >= 1):
        raise PpemaError(f"--threads: expected an integer >= 1 or auto, got {arguments.threads!r}")
    choose_threads("auto" if arguments.threads == "auto" else int(arguments.threads))
    load_paddle()
    from ppema.benchmark.checkpoint import measure
    from ppema.benchmark.measure import LEAST_ROUNDS, machine, rows

    if arguments.rounds < LEAST_ROUNDS:
        raise PpemaError(f"--rounds: expected an integer >= {LEAST_ROUNDS}, got {arguments.rounds}: fewer tell nothing")
    if not arguments.folder.is_dir():
        raise PpemaError(f"--folder: {arguments.folder}: there is no such folder")
    figures = measure(arguments.rounds, arguments.folder)
    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    print_table(("what", "beside", "ours", "theirs", "ratio (quartiles)", "aim"), rows(figures))
    if arguments.json:
        found = [{**asdict(each), "ratio": each.ratio, "spread": each.spread} for each in figures]
        print_json({"machine": machine(), "figures": found})
    return 0
