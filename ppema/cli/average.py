"""ppema average: averages of any length, built from a finished run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ppema.cli.common import add_json, load, parser, print_json, print_table, run, say


def main(argv: Sequence[str] | None = None, prog: str = "ppema average") -> int:
    """Run the command, and return its exit code: 0 done, 1 failed, 2 bad input."""
    made = parser(
        prog,
        "Build averages of the weights of any length from a run's snapshots (train.snapshot_every), or search the length with "
        "the best metric over data.eval. Weights, table and figure go to <output>/averages; eval --weights takes the weights.",
    )
    what = made.add_mutually_exclusive_group(required=True)
    what.add_argument("--sigma-rel", metavar="WIDTH,...", help="write the power functions of these widths, such as 0.05,0.15")
    what.add_argument(
        "--half-life", metavar="TIME,...", help="write averages of these half-lives, such as '2 epochs,500 steps'"
    )
    what.add_argument(
        "--search",
        choices=("grid", "golden"),
        help="write the length with the best metric, of a grid or by golden sections; golden may miss the best one if the "
        "metric is noisy or has several optima",
    )
    what.add_argument(
        "--last-checkpoints", metavar="K", type=int, help="write the mean of the raw weights of the last K checkpoints"
    )
    made.add_argument(
        "--over", choices=("sigma_rel", "half_life"), help="the kind of length that --search varies (default: sigma_rel)"
    )
    made.add_argument(
        "--between", metavar="LOW,HIGH", help="the range of --search (default: 0.02,0.25, or '1 %%,20 %%' of the run)"
    )
    made.add_argument("--points", metavar="N", type=int, help="the number of lengths that --search tries (default: 9)")
    made.add_argument(
        "--metric", metavar="NAME", help="the metric that decides (default: train.monitor's, or the first of metrics)"
    )
    made.add_argument("--step", metavar="N", type=int, help="build the averages at this step (default: the last snapshot's)")
    made.add_argument(
        "--recalibrate-batches",
        metavar="N",
        type=int,
        help="training batches on which BatchNorm's statistics are measured for each average (default: 50); 0: the averages' "
        "own statistics, if the snapshots have them",
    )
    made.add_argument("--name", help="the name of the written files (default: derived from the other arguments)")
    add_json(made)
    return run(_average, made, argv, by_ranks=True)


def _average(arguments: argparse.Namespace) -> int:
    config = load(arguments)
    from ppema.log.terminal.activity import activity
    from ppema.posthoc.request import ARGUMENTS, request_of
    from ppema.posthoc.search import average
    from ppema.programs.all_ranks import all_ranks

    given = {name: value for name in ARGUMENTS if (value := getattr(arguments, name)) is not None}
    with all_ranks(config) as world, activity() as watch:
        outcome = average(config, request_of(**given), say=lambda line: say(line, sys.stderr), watch=watch, world=world)
    report = outcome.report
    several = len(report.rows) > 1
    rows = [
        [row.name, *row.metrics.values(), _small(row.error), row.parts, *(["best" if row is report.best else ""] * several)]
        for row in report.rows
    ]
    print_table(["average", *report.rows[0].metrics, "profile error", "made of", *([""] * several)], rows)
    for file in outcome.files:
        say(f"weights: {file}")
    if arguments.json:
        from dataclasses import asdict

        print_json({**asdict(report), "files": [str(file) for file in outcome.files]})
    return 0


def _small(error: float | None) -> str:
    return "-" if error is None else f"{error:.1e}"


if __name__ == "__main__":
    sys.exit(main(prog="python -m ppema.cli.average"))
