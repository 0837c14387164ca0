"""ppema eval: measure a checkpoint's weights."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ppema.cli.common import add_json, load, parser, print_json, print_table, run, say


def main(argv: Sequence[str] | None = None, prog: str = "ppema eval") -> int:
    """Run the command, and return its exit code: 0 done, 2 bad input."""
    made = parser(prog, "Measure the raw weights and the averages of a checkpoint over data.eval.")
    made.add_argument(
        "--weights",
        metavar="raw|NAME|PATH",
        help="the weights to measure, or a file *.safetensors of weights (default: raw and every average)",
    )
    made.add_argument("--checkpoint", metavar="PATH|best|last", help="the checkpoint (default: last)")
    made.add_argument(
        "--batch-norm",
        metavar="POLICY,...",
        help="compare policies for BatchNorm's statistics: average, copy, recalibrate, or all that the weights have",
    )
    made.add_argument(
        "--recalibrate-batches",
        metavar="N",
        type=int,
        help="training batches for recalibrate (default: those of each average in training, or 50)",
    )
    made.add_argument(
        "--keep-samples",
        action="store_true",
        help="write the statistics of each sample to OUTPUT/samples, for compare --intervals",
    )
    made.add_argument(
        "--samples-limit",
        metavar="GIB",
        type=float,
        help="the most memory and disk for the samples of one set of weights (default: 2)",
    )
    made.add_argument(
        "--intervals",
        action="store_true",
        help="add bootstrap intervals over the samples, also of each average minus raw",
    )
    add_json(made)
    return run(_evaluate, made, argv, by_ranks=True)


def _evaluate(arguments: argparse.Namespace) -> int:
    config = load(arguments)
    from ppema.evaluation.evaluate import numbers
    from ppema.evaluation.samples.taken import TakenSamples
    from ppema.evaluation.stored import evaluate_stored
    from ppema.log.terminal.activity import activity
    from ppema.programs.all_ranks import all_ranks

    taken = TakenSamples(
        config,
        keep=arguments.keep_samples,
        hold=arguments.intervals,
        limit=arguments.samples_limit,
        say=lambda line: say(line, sys.stderr),
    )
    asked = arguments.batch_norm
    with all_ranks(config) as world, activity() as watch:
        results = evaluate_stored(
            config,
            arguments.weights,
            arguments.checkpoint,
            batch_norm=asked if asked in (None, "all") else asked.split(","),
            recalibrate_batches=arguments.recalibrate_batches,
            samples=taken,
            say=lambda line: say(line, sys.stderr),
            watch=watch,
            world=world,
        )
    if not world.first:
        return 0
    if arguments.intervals:
        from ppema.evaluation.samples.interval_rows import HEAD, interval_notes, interval_rows, interval_values

        found = taken.replicates()
        print_table(HEAD, interval_rows(found))
        say("\n".join(interval_notes(found, chosen=arguments.checkpoint == "best" or config.train.early_stop is not None)))
        if arguments.json:
            print_json({"figures": results, **interval_values(found)})
        return 0
    rows = {name: numbers(values) for name, values in results.items()}
    print_table(["weights", *next(iter(rows.values()))], [[name, *values.values()] for name, values in rows.items()])
    if arguments.json:
        print_json(results)
    return 0


if __name__ == "__main__":
    sys.exit(main(prog="python -m ppema.cli.eval"))
