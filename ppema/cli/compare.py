"""ppema compare: tell which of several runs is better: raw weights and averages over seeds, with tests."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ppema.cli.common import add_json, print_json, run, say
from ppema.errors import Naming, PpemaError, TrainingError

_SUFFIXES = {".md": "markdown", ".csv": "csv"}


def main(argv: Sequence[str] | None = None, prog: str = "ppema compare") -> int:
    """Run the command, and return its exit code: 0 done, 1 a file can not be written, 2 bad input."""
    made = argparse.ArgumentParser(
        prog=prog,
        description="Compare runs: the raw weights and the averages, mean and spread over seeds, the time to a target, the "
        "keys of the configs that differ, and paired tests. Runs whose configs differ only in seed, fold, output, threads "
        "and device are one group. Each group is compared with one of them, the baseline.",
    )
    made.add_argument("runs", metavar="RUN", nargs="+", help="the output folder of a run, or of a sweep for all its runs")
    made.add_argument(
        "--metric",
        metavar="NAME,...",
        help="the metrics to compare; the first one decides about the rest (default: all, that of train.monitor first)",
    )
    made.add_argument("--weights", metavar="NAME,...", help="raw and names of averages (default: all)")
    made.add_argument(
        "--target", metavar="VALUE", type=float, help="show the steps and seconds until the metric first reaches this value"
    )
    made.add_argument(
        "--objective",
        choices=("last", "best"),
        default="last",
        help="the evaluation that counts: the last one, or the best of each set of weights (default: last)",
    )
    made.add_argument(
        "--mode",
        choices=("max", "min"),
        help="which value is best, for a metric whose name does not say (default: by its name)",
    )
    made.add_argument(
        "--baseline",
        metavar="GROUP",
        help="the group that the others are compared with, or one of its runs (default: the best trial of a sweep that is "
        "given alone, else the first group)",
    )
    made.add_argument("--any-data", action="store_true", help="compare runs although their configs name other evaluation data")
    made.add_argument(
        "--intervals",
        action="store_true",
        help="add bootstrap intervals over the samples of the evaluations, which `ppema eval --keep-samples` keeps",
    )
    made.add_argument(
        "--format",
        choices=("text", "markdown", "csv"),
        help="the form of the output; csv has all values of all runs (default: by the suffix .md or .csv of --to, or text)",
    )
    made.add_argument("--figure", metavar="FILE", help="draw the first metric over epochs, as an image in this file")
    made.add_argument("--to", metavar="FILE", help="write the output to this file (default: stdout)")
    add_json(made)
    return run(_compare, made, argv)


def _compare(arguments: argparse.Namespace) -> int:
    from ppema.experiments.comparison.compare import compare

    found = compare(
        arguments.runs,
        metric=_names(arguments.metric),
        weights=_names(arguments.weights),
        target=arguments.target,
        objective=arguments.objective,
        mode=arguments.mode,
        any_data=arguments.any_data,
        intervals=arguments.intervals,
        baseline=arguments.baseline,
    )
    if arguments.figure is not None:
        found.draw(arguments.figure)
    form = arguments.format or _SUFFIXES.get(os.path.splitext(arguments.to or "")[1].lower(), "text")
    text = {"text": found.text, "markdown": found.markdown, "csv": found.csv}[form]().rstrip("\n")
    if arguments.to is not None:
        _write(Path(arguments.to), f"{text}\n")
    else:
        say(text)
    for what, file in (("comparison", arguments.to), ("figure", arguments.figure)):
        if file is not None:
            say(f"{what}: {file}", sys.stderr)
    if arguments.json:
        print_json(found.plain())
    return 0


def _write(file: Path, text: str) -> None:
    from ppema.checkpoint.durable import replace_file

    if file.is_dir():
        raise PpemaError(Naming("{to}: {}: it is a folder: name a file in it", file))
    try:
        replace_file(file, text.encode())
    except OSError as error:
        raise TrainingError(f"{file}: it can not be written: {error.strerror}") from error


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [each.strip() for each in text.split(",")]


if __name__ == "__main__":
    sys.exit(main(prog="python -m ppema.cli.compare"))
