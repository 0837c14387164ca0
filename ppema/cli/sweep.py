"""ppema sweep: train a config at many points of a search space."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from ppema.cli.common import add_json, parser, print_json, run, say
from ppema.cli.pasted.again import beside, launched, on_terminal

if TYPE_CHECKING:
    from ppema.experiments.sweeps.sweep_folder import SweepResults


def main(argv: Sequence[str] | None = None, prog: str = "ppema sweep") -> int:
    """Run the command, and return its exit code: 0 done, 1 failed or no trial complete, 2 bad input, 130 and 143 stopped."""
    made = parser(
        prog,
        "Train a config at many points of a search space: the trials of a sweep, each an ordinary run. The same command goes "
        "on with a stopped sweep, and takes part in a running one. Options replace keys of the config's section `sweep`.",
    )
    made.add_argument(
        "--over",
        metavar="KEY=VALUES",
        action="extend",
        nargs="+",
        default=[],
        help="a key of the config and its values: lr.args.learning_rate=log:1e-3..1e-1, averages.ema.decay=0.9,0.99, "
        "model.args.width=int:16..64; --over may be repeated",
    )
    made.add_argument(
        "--method", choices=["grid", "random", "tpe"], help="choice of the trials (default: grid, or tpe for ranges)"
    )
    made.add_argument(
        "--trials", type=int, metavar="N", help="number of trials of random and tpe; a larger one extends a sweep"
    )
    made.add_argument("--seeds", type=int, metavar="N", help="runs of each trial, with the config's seed and those after it")
    made.add_argument("--jobs", type=int, metavar="N", help="runs in training at the same time, which share the cores")
    made.add_argument("--monitor", metavar="WEIGHTS/METRIC", help="what compares the trials, such as ema/accuracy")
    made.add_argument("--mode", choices=["max", "min"], help="whether the largest or the smallest value is best")
    made.add_argument(
        "--objective", choices=["last", "best"], help="value of a run: of its last evaluation, or of its best one"
    )
    made.add_argument(
        "--prune", action="store_const", const=True, help="end a run that is worse than the median of complete trials"
    )
    made.add_argument(
        "--lengths", action="store_const", const=True, help="search the best length of a post-hoc average for each trial"
    )
    made.add_argument(
        "--storage",
        metavar="URL",
        help="Optuna's storage, for a sweep on several machines: postgresql+psycopg://..., or grpc://host:port (default: a "
        "file in the sweep's folder)",
    )
    made.add_argument("--to", metavar="FOLDER", help="the sweep's folder (default: the config's output with -sweep)")
    add_json(made)
    words = sys.argv[1:] if argv is None else argv
    return run(partial(_sweep, launched(argv, prog), words), made, argv)


def _sweep(launcher: Sequence[str], words: Sequence[str], arguments: argparse.Namespace) -> int:
    from ppema.experiments.sweeps.results_table import table_of
    from ppema.experiments.sweeps.search.space_checks import space_of
    from ppema.experiments.sweeps.shared.masking import url_without_password
    from ppema.experiments.sweeps.sweeping import run_sweep

    options = ("method", "trials", "seeds", "jobs", "monitor", "mode", "objective", "prune", "lengths")
    given = {name: getattr(arguments, name) for name in options}
    space = space_of(arguments.config, arguments.override, over=arguments.over, **given)

    def show(results: SweepResults, *, goes_on: bool) -> None:
        for line in table_of(results):
            say(line)
        say(f"sweep: {results.output}")
        if results.best is not None:
            say(on_terminal("to compare its runs: ", shlex.join([*beside(launcher, "compare"), results.output])))
        if goes_on:
            shown = [url_without_password(word) if "://" in word else word for word in (*launcher, *words)]
            say(on_terminal("to go on: ", shlex.join(shown)))

    outcome = run_sweep(space, arguments.to, storage=arguments.storage, cut=partial(show, goes_on=True))
    show(outcome.results, goes_on=outcome.stopped_by is not None)
    if arguments.json:
        print_json(outcome.results.model_dump(mode="json"))
    if outcome.stopped_by:
        return 128 + outcome.stopped_by
    return 1 if outcome.results.best is None else 0


if __name__ == "__main__":
    sys.exit(main(prog="python -m ppema.cli.sweep"))
