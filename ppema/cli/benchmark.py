"""ppema benchmark: the cost of ppema on this machine, measured side by side with that of alternatives."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ppema.cli.common import add_json, print_json, print_table, run
from ppema.errors import PpemaError

if TYPE_CHECKING:
    from benchmarks.measure import Options

COMMANDS = {
    "aims": "the figures with an aim of docs/speed.md, and whether each aim holds",
    "ema": "one update of ResNet-50's averages, beside the memory limit, PyTorch and stock Paddle",
    "optimizer": "an optimizer with averages, beside the memory limit and PyTorch",
    "large": "one update of a billion weights' average, or of as many as fit into memory, beside the memory limit",
    "step": "training steps with EMA, beside PyTorch, compiled too, stock Paddle in both modes, and JAX",
    "share": "what one average adds to a training step",
    "memory": "the peak memory of training steps, beside PyTorch",
    "swap": "apply and restore of an average",
    "loop": "the overhead of the training loop over the bare run of its program",
    "evaluation": "an epoch of evaluation beside the bare forward runs of its program",
    "norms": "what train.log_norms adds to a step",
    "checkpoint": "the loop's wait for a checkpoint, and the speed of writing it",
    "loader": "a step on real data, beside one on a repeated batch",
    "parallel": "training steps of several ranks, beside one process with one thread and with two",
    "startup": "the time from the start of the process to the end of the first step",
}


def main(argv: Sequence[str] | None = None, prog: str = "ppema benchmark") -> int:
    """Run the command, and return its exit code: 0 done, 1 a measurement failed, 2 bad input, 130 Ctrl-C."""
    made = argparse.ArgumentParser(
        prog=prog,
        description="Measure the cost of ppema on this machine, beside the aims of docs/speed.md.",
        epilog="commands:\n" + "\n".join(f"  {name:<12}{purpose}" for name, purpose in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("command", nargs="?", choices=COMMANDS, metavar="COMMAND", help="the subject to measure (default: all)")
    made.add_argument(
        "--folder", type=Path, default=Path(), help="the folder to which checkpoint and loop write up to 3 GB (default: here)"
    )
    made.add_argument("--models", metavar="A,B", help="the models whose steps are measured (default: all)")
    made.add_argument(
        "--rounds", type=int, default=15, metavar="N", help="the number of measurements (default: 15, at least 5)"
    )
    made.add_argument(
        "--threads", default="auto", metavar="N", help="the number of OpenMP threads (default: the number of cores)"
    )
    add_json(made)
    return run(_benchmark, made, argv)


def _benchmark(arguments: argparse.Namespace) -> int:
    from ppema.environment import MOST_THREADS, choose_threads, load_paddle

    _find_measures()
    threads = arguments.threads
    # The length is checked first, because int refuses numbers of thousands of digits.
    if threads != "auto" and not (threads.isdecimal() and len(threads) <= 9 and 1 <= int(threads) <= MOST_THREADS):
        raise PpemaError(f"--threads: expected an integer from 1 to {MOST_THREADS} or auto, got {threads!r}")
    choose_threads("auto" if threads == "auto" else int(threads))
    load_paddle()
    from benchmarks.measure import machine, rows
    from benchmarks.parts import measured

    options, figures, skipped, here = _options(arguments), [], [], machine()
    print(", ".join(f"{key} {value}" for key, value in here.items() if value is not None), flush=True)
    commands = [arguments.command] if arguments.command else [name for name in COMMANDS if name != "aims"]
    for found in measured(commands, options):
        figures += found.figures
        if found.figures:
            print_table(("what", "beside", "ours", "theirs", "value (quartiles)", "aim"), rows(found.figures))
        for line in found.skipped:
            if line not in skipped:
                skipped.append(line)
                print(f"skipped: {line}")
        sys.stdout.flush()
    if aims := [each.holds for each in figures if each.holds is not None]:
        print(f"{sum(aims)} of {len(aims)} aims hold")
    if arguments.json:
        print_json({"machine": here, "figures": [each.json() for each in figures], "skipped": skipped})
    return 0


def _find_measures() -> None:
    """Import `benchmarks`, which is part of a checkout but not of the library. Raises PpemaError without a checkout."""
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / "benchmarks/measure.py").is_file():
        raise PpemaError("benchmark: it needs the checkout of ppema, which has the folder benchmarks: run it there")
    sys.path.insert(0, str(checkout))
    try:
        import benchmarks  # noqa: F401
    finally:
        sys.path.remove(str(checkout))


def _options(arguments: argparse.Namespace) -> Options:
    from benchmarks.measure import LEAST_ROUNDS, Options
    from benchmarks.subjects import SUBJECTS

    if arguments.rounds < LEAST_ROUNDS:
        raise PpemaError(f"--rounds: expected an integer >= {LEAST_ROUNDS}, got {arguments.rounds}: fewer are not significant")
    if not arguments.folder.is_dir():
        raise PpemaError(f"--folder: {arguments.folder}: there is no such folder")
    models = tuple(SUBJECTS) if arguments.models is None else tuple(arguments.models.split(","))
    for name in models:
        if name not in SUBJECTS:
            raise PpemaError(f"--models: expected some of {', '.join(SUBJECTS)}, got {name!r}")
    if arguments.models is not None and arguments.command not in (None, "step", "aims"):
        raise PpemaError(f"--models: {arguments.command} has no choice of models: only step and aims have")
    return Options(arguments.rounds, arguments.folder, models, only_aims=arguments.command == "aims")


if __name__ == "__main__":
    sys.exit(main(prog="python -m ppema.cli.benchmark"))
