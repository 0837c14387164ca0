"""tools/eval.py: measure a checkpoint's weights."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ppema.cli.common import add_json, load, parser, print_json, print_table, run


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 done, 2 bad input."""
    made = parser("eval", "Measure the raw weights and the averages of a checkpoint over data.eval.")
    made.add_argument("--weights", metavar="raw|NAME", help="only these (default: raw and every average)")
    made.add_argument("--checkpoint", metavar="PATH|best|last", default="last", help="default: last")
    add_json(made)
    return run(_evaluate, made, argv)


def _evaluate(arguments: argparse.Namespace) -> int:
    config = load(arguments)
    from ppema.api import evaluate

    results = evaluate(config, arguments.weights, arguments.checkpoint)
    measures = list(next(iter(results.values())))
    print_table(["weights", *measures], [[name, *values.values()] for name, values in results.items()])
    if arguments.json:
        print_json(results)
    return 0
