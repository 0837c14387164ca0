"""ppema train: train the model of a config."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial

from ppema.cli.common import add_json, flag, load, parser, print_json, print_table, run, say
from ppema.cli.pasted.again import launched, on_terminal, with_remedy
from ppema.errors import CheckpointError, Remedy
from ppema.ranks import launched_ranks


def main(argv: Sequence[str] | None = None, prog: str = "ppema train") -> int:
    """Run the command, and return its exit code: 0 done, 1 failed, 2 bad input, 130 and 143 stopped after a checkpoint."""
    made = parser(prog, "Train the model of a config, and evaluate the raw weights and every average during training.")
    made.add_argument(
        "--resume",
        metavar="auto|never|PATH",
        default="auto",
        help="auto: go on from the run's newest intact checkpoint, if any; never: refuse a run that has begun; PATH: from "
        "that checkpoint (last, best, or one of another run) in this config's output",
    )
    made.add_argument(
        "--extend",
        action="store_true",
        help="after train.epochs or train.steps has grown: go on although lengths in percent of the run change with it (the "
        "log lists them); after an early stop: go on with new patience",
    )
    made.add_argument("--dry-run", action="store_true", help="build everything, run one step and one evaluation, write nothing")
    add_json(made)
    return run(partial(_train, launched(argv, prog)), made, argv, by_ranks=True)


def _train(launcher: Sequence[str], arguments: argparse.Namespace) -> int:
    config = load(arguments)
    if arguments.dry_run:
        from ppema.log.figure_texts import figure
        from ppema.training.loop import dry_run

        loss = dry_run(config, say=lambda line: say(line, sys.stderr))
        if launched_ranks().first:
            print(f"dry run: one step, loss {figure(loss)}; the evaluation ran; nothing was written", file=sys.stderr)
        return 0
    from ppema.training.loop import train

    try:
        result = train(config, resume=arguments.resume, extend=arguments.extend)
    except CheckpointError as error:
        if error.remedy is None:
            raise
        going_on = with_remedy(launcher, arguments, error.remedy)
        raise CheckpointError(f"{error.worded(flag)}\n{error.remedy.purpose}: {going_on}") from error
    if not launched_ranks().first:
        return 128 + result.stopped_by if result.stopped_by else 0
    from ppema.cli.pasted.ending import best_lines, next_commands
    from ppema.log.terminal.region import is_live

    # On a terminal, the table of the run still stands above.
    if result.metrics and not (sys.stdout.isatty() and is_live(sys.stderr)):
        measures = list(next(iter(result.metrics.values())))
        print_table(["weights", *measures], [[name, *values.values()] for name, values in result.metrics.items()])
    for line in best_lines(config, result):
        say(line)
    say(f"run: {result.output}")
    if result.stopped_by:
        going_on = with_remedy(launcher, arguments, Remedy("to go on", resume="auto", extend=False))
        say(on_terminal("to go on: ", going_on))
    else:
        say("next:")
        for command in next_commands(launcher, arguments, config, result):
            say(on_terminal("", command))
    if arguments.json:
        best = {monitor: {"value": each.value, "step": each.step} for monitor, each in result.best.items()}
        figures = {"step": result.state.step, "metrics": result.metrics, "best": best, "early_stop": result.early_stop}
        print_json({**figures, "output": str(result.output)})
    return 128 + result.stopped_by if result.stopped_by else 0


if __name__ == "__main__":
    sys.exit(main(prog="python -m ppema.cli.train"))
