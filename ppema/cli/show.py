"""ppema show: the programs of a config without training, the schema of configs, and the curves of a run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from ppema.cli.common import load, parser, print_table, run


def main(argv: Sequence[str] | None = None, prog: str = "ppema show") -> int:
    """Run the command, and return its exit code: 0 done, 1 the measured steps failed, 2 bad input."""
    made = parser(prog, "Show the result of a config: variables, averages, memory, programs and length.", required=False)
    made.add_argument("--all", action="store_true", help="show each variable of a large model instead of its layer groups")
    made.add_argument(
        "--resolved", action="store_true", help="print the whole config instead, with bases and defaults filled in"
    )
    made.add_argument("--schema", action="store_true", help="print the JSON Schema of configs instead, for editors")
    made.add_argument(
        "--reference", action="store_true", help="print the reference of all keys of a config instead, in Markdown"
    )
    made.add_argument("--curves", metavar="PNG", help="draw the run's evaluations instead: raw and each average over epochs")
    made.add_argument("--metric", default="accuracy", help="the metric that --curves draws (default: accuracy)")
    return run(_show, made, argv, by_ranks=True)


def _show(arguments: argparse.Namespace) -> int:
    if arguments.schema:
        from ppema.config import schema_json

        print(schema_json())
        return 0
    if arguments.reference:
        from ppema.config.reference import reference

        print(reference(), end="")
        return 0
    if arguments.resolved:
        from ppema.config import to_yaml

        print(to_yaml(load(arguments)), end="")
        return 0
    config = load(arguments)
    if arguments.curves is not None:
        from ppema.checkpoint.paths import output_of
        from ppema.log.curves import draw_curves

        draw_curves(output_of(config), arguments.metric, Path(arguments.curves))
        return 0
    from paddle.static import scope_guard

    from ppema.checkpoint.paths import checkpoints_of
    from ppema.training.initial import begin_with
    from ppema.training.parallel.traffic import traffic_of
    from ppema.training.setup import prepare_training
    from ppema.training.shown.describe import BY_GROUP, describe

    with closing(prepare_training(config)) as run, scope_guard(run.scope):
        restored = None if checkpoints_of(config).exists() else begin_with(run)
        tables = describe(run, restored, traffic=traffic_of(run), every=arguments.all)
    for table in tables:
        print(f"\n{table.title}{' (--all: each)' if table.title == BY_GROUP else ''}")
        print_table(table.head, table.rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(prog="python -m ppema.cli.show"))
