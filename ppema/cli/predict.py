"""ppema predict: what a model says of new samples."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ppema.cli.common import add_json, load, parser, print_json, run, say
from ppema.errors import PpemaError

if TYPE_CHECKING:
    from ppema.prediction.predict import Predicting
    from ppema.prediction.writers import FileFormat, Writer


def main(argv: Sequence[str] | None = None, prog: str = "ppema predict") -> int:
    """Run the command, and return its exit code: 0 done, 1 failed, 2 bad input."""
    made = parser(
        prog,
        "Predict with a run's model: classes with probabilities, or the outputs' numbers. Inputs are prepared as in the run's "
        "evaluations.",
        required=False,
    )
    made.add_argument(
        "--input",
        metavar="PATH",
        nargs="+",
        required=True,
        help="pictures, folders of pictures, *.npz, *.csv, data.eval, data.train, or the dotted path of a data set",
    )
    made.add_argument(
        "--weights",
        metavar="raw|NAME|PATH",
        help="the weights that predict, a file *.safetensors of weights, or an exported folder, without -c (default: those of "
        "train.monitor, else raw)",
    )
    made.add_argument("--checkpoint", metavar="PATH|best|last", help="the checkpoint (default: last)")
    made.add_argument(
        "--format",
        choices=("table", "jsonl", "csv", "npz"),
        help="the format (default: that of the suffix of --to, else table)",
    )
    made.add_argument("--to", metavar="FILE", help="the file to write (default: stdout); it appears at the end")
    made.add_argument("--batch-size", metavar="N", type=int, help="samples in a batch (default: that of data.eval)")
    made.add_argument(
        "--on-error",
        choices=("stop", "skip"),
        default="stop",
        help="stop at a sample that can not be used (default), or name it on stderr and leave it out",
    )
    made.add_argument("--top", metavar="K", type=int, default=1, help="show the K most probable classes (default: 1)")
    add_json(made)
    return run(_predict, made, argv, by_ranks=True)


def _predict(arguments: argparse.Namespace) -> int:
    if arguments.top < 1:
        raise PpemaError(f"--top: expected an integer >= 1, got {arguments.top}")
    exported = arguments.weights is not None and os.path.isdir(arguments.weights)
    if exported and not arguments.config:
        if arguments.override:
            raise PpemaError(f"-o: {arguments.weights} is an exported model, which has its config: leave it out")
        from ppema.environment import choose_threads, load_paddle

        config = None
        choose_threads("auto")
        load_paddle()
    else:
        config = load(arguments)
    from contextlib import closing

    from ppema.prediction.destination import format_of
    from ppema.prediction.predict import Predicting, is_folder
    from ppema.programs.all_ranks import all_ranks

    if config is not None and is_folder(arguments.weights, config):
        raise PpemaError(f"-c: {arguments.weights} is an exported model, which has its config: leave it out")
    made = format_of(arguments.to, arguments.format)
    options = {each: getattr(arguments, each) for each in ("weights", "checkpoint", "batch_size", "on_error")}
    with (
        all_ranks(config) as world,
        closing(Predicting(config, arguments.input, **options, world=world)) as predicting,
    ):
        say(f"weights: {predicting.what}", sys.stderr)
        done, left_out = _written(predicting, arguments, made) if world.first else _copied(predicting, None, shown=False)
    if left_out:
        say(f"{left_out} of {done + left_out} samples were left out", sys.stderr)
    if arguments.to is not None:
        say(f"{arguments.to}: {done} samples", sys.stderr)
    if arguments.json:
        print_json({"samples": done, "left_out": left_out, "weights": predicting.what, "to": arguments.to})
    return 0


def _written(predicting: Predicting, arguments: argparse.Namespace, made: FileFormat) -> tuple[int, int]:
    """The numbers of samples that were written and left out."""
    from ppema.prediction.destination import in_file, on_stream, partial_of

    if arguments.to is None:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        writer = on_stream(sys.stdout, made, arguments.top, width, predicting.total)
        return _copied(predicting, writer, shown=not sys.stdout.isatty())
    to = Path(arguments.to)
    try:
        with in_file(to, made, arguments.top) as writer:
            return _copied(predicting, writer, shown=True)
    except BaseException:
        if made != "npz" and partial_of(to).exists():
            say(f"{partial_of(to)}: the samples until then", sys.stderr)
        raise


def _copied(predicting: Predicting, writer: Writer | None, *, shown: bool) -> tuple[int, int]:
    from ppema.prediction.progress_bar import counted

    done, left_out = 0, 0
    with counted(predicting.total, shown=shown) as progress:
        for batch in predicting.batches():
            for name, reason in batch.failed:
                say(f"left out: {name}: {reason}", sys.stderr)
            if batch.names and writer is not None:
                writer.write(batch)
            done, left_out = done + len(batch.names), left_out + len(batch.failed)
            progress(done + left_out)
    return done, left_out


if __name__ == "__main__":
    sys.exit(main(prog="python -m ppema.cli.predict"))
