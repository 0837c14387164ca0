"""ppema benchmark: the cost of ppema on this machine, measured side by side with that of alternatives."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ppema.cli.common import add_json, print_json, print_table, run
from ppema.errors import PpemaError

if TYPE_CHECKING:
    from benchmarks.measure import Found, Options

COMMANDS = {
    "ema": "one update of ResNet-50's averages, beside the memory limit, PyTorch and stock Paddle",
    "step": "training steps with EMA, beside PyTorch and stock Paddle, and the share of the EMA",
    "swap": "apply and restore of an average",
    "loop": "the overhead of the training loop over the bare run of its program",
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
    made.add_argument("--models", metavar="A,B", help="the models that step measures (default: all)")
    made.add_argument(
        "--rounds", type=int, default=15, metavar="N", help="the number of measurements (default: 15, the minimum)"
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

    options, figures, skipped, here = _options(arguments), [], [], machine()
    print(", ".join(f"{key} {value}" for key, value in here.items() if value is not None), flush=True)
    for name, part in _parts([arguments.command] if arguments.command else COMMANDS, options):
        found = _measures()[name](part)
        figures += found.figures
        if found.figures:
            print_table(("what", "beside", "ours", "theirs", "value (quartiles)", "aim"), rows(found.figures))
        for line in found.skipped:
            if line not in skipped:
                skipped.append(line)
                print(f"skipped: {line}")
        sys.stdout.flush()
    if arguments.json:
        rows_of_json = [{**asdict(each), "value": each.value, "spread": each.spread} for each in figures]
        print_json({"machine": here, "figures": rows_of_json, "skipped": skipped})
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


def _parts(commands: Iterable[str], options: Options) -> Iterator[tuple[str, Options]]:
    """The parts whose figures are printed together: each command; for step each model, because one takes minutes."""
    for name in commands:
        for models in [(each,) for each in options.models] if name == "step" else [options.models]:
            print(f"measuring: {' '.join((name, *models)) if name == 'step' else name} ...", file=sys.stderr, flush=True)
            yield name, replace(options, models=models)


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
    if arguments.models is not None and arguments.command not in (None, "step"):
        raise PpemaError(f"--models: {arguments.command} has no choice of models: only step has")
    return Options(arguments.rounds, arguments.folder, models)


def _measures() -> dict[str, Callable[[Options], Found]]:
    from benchmarks import checkpoint, ema, loader, loop, norms, parallel, startup, step, swap

    modules = {"ema": ema, "step": step, "swap": swap, "loop": loop, "norms": norms, "checkpoint": checkpoint}
    modules |= {"loader": loader, "parallel": parallel, "startup": startup}
    return {name: module.measure for name, module in modules.items()}


if __name__ == "__main__":
    sys.exit(main(prog="python -m ppema.cli.benchmark"))
