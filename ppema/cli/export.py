"""ppema export: write a model of a run, or its weights, for other programs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ppema.cli.common import add_json, load, parser, print_json, run, say
from ppema.errors import PpemaError

if TYPE_CHECKING:
    from ppema.deploy.inference import ExportedModel
    from ppema.deploy.weights_export import Exported


def main(argv: Sequence[str] | None = None, prog: str = "ppema export") -> int:
    """Run the command, and return its exit code: 0 done, 1 failed, 2 bad input."""
    made = parser(
        prog,
        "Write a model of a run as an inference program with its description, model.json: of Paddle (--format paddle), "
        "with a model card (hub), or as ONNX (onnx). "
        "Or write its weights to one file: safetensors, which eval --weights and init_from read, or Paddle's pdparams, for "
        "layer.set_state_dict(paddle.load(FILE)).",
        required=False,
    )
    made.add_argument(
        "--to", metavar="DIR|FILE", required=True, help="the folder or file to write; a former export there is replaced"
    )
    made.add_argument(
        "--format",
        choices=("paddle", "onnx", "hub", "safetensors", "pdparams"),
        help="the format (default: that of the file's suffix)",
    )
    made.add_argument("--fold", action="store_true", help="with a program: fold BatchNorms into the convolutions before them")
    made.add_argument(
        "--preprocess",
        action="store_true",
        help="with a program: it takes pictures as bytes, [N, height, width, channels], and returns probabilities",
    )
    made.add_argument(
        "--weights", metavar="raw|NAME|PATH", help="the weights to write, or a file *.safetensors of weights (default: raw)"
    )
    made.add_argument("--checkpoint", metavar="PATH|best|last", help="the checkpoint (default: last)")
    made.add_argument(
        "--names",
        choices=("variables", "places"),
        help="the names of arrays: variables, as in static programs (default for safetensors), or places in the model, as in "
        "state_dict() (default for pdparams)",
    )
    official = made.add_argument_group(
        "from Paddle 2's own class", "Convert a checkpoint of a static program with paddle.static.ExponentialMovingAverage."
    )
    official.add_argument(
        "--from-official",
        metavar="PATH",
        help="X of paddle.static.save(program, X), or a folder with one file per variable; no -c; --weights is raw or ema",
    )
    official.add_argument("--decay", type=float, metavar="D", help="the decay of the averages, if the checkpoint lacks it")
    official.add_argument(
        "--updates", type=int, metavar="N", help="the number of updates of the averages, if the checkpoint lacks it"
    )
    add_json(made)
    return run(_export, made, argv)


def _export(arguments: argparse.Namespace) -> int:
    done = _of_run(arguments) if arguments.from_official is None else _of_official(arguments)
    from dataclasses import asdict

    from ppema.deploy.weights_export import Exported

    if isinstance(done, Exported):
        say(f"{done.file}: {done.weights}, {done.variables} variables by {'name' if done.names == 'variables' else 'place'}")
    else:
        _say_model(done)
    if arguments.json:
        print_json(asdict(done))
    return 0


def _say_model(done: ExportedModel) -> None:
    say(f"{done.folder}: {done.weights}: {', '.join(done.files)}")
    if done.folded is not None:
        say(f"fold: {done.folded}")
    if done.random:
        say(f"warning: the evaluation data can not be opened, so samples are random: {done.random}", sys.stderr)
    if done.missing:
        say(f"warning: model.json lacks figures: {done.missing}", sys.stderr)
    for each in done.compared:
        say(f"loaded back by {each.by}: greatest difference {each.greatest:.3g} on {each.what}")


def _of_run(arguments: argparse.Namespace) -> Exported | ExportedModel:
    for option in ("decay", "updates"):
        if getattr(arguments, option) is not None:
            raise PpemaError(f"--{option}: it requires --from-official")
    config = load(arguments)
    from ppema.deploy.exporting import export

    return export(
        config,
        arguments.to,
        format=arguments.format,
        weights=arguments.weights or "raw",
        checkpoint=arguments.checkpoint,
        names=arguments.names,
        fold=arguments.fold,
        preprocess=arguments.preprocess,
    )


def _of_official(arguments: argparse.Namespace) -> Exported:
    for option, value in (("-c", arguments.config), ("-o", arguments.override), ("--checkpoint", arguments.checkpoint)):
        if value:
            raise PpemaError(f"{option}: it can not be combined with --from-official, which names the checkpoint")
    if arguments.format in ("paddle", "onnx", "hub") or arguments.fold or arguments.preprocess:
        raise PpemaError("--format: a checkpoint of Paddle 2's own class has no model: safetensors or pdparams")
    if arguments.names == "places":
        raise PpemaError("--names: variables of a static program have no places in a model: leave it out")
    if arguments.weights is None:
        raise PpemaError("--weights is missing: with --from-official, raw or ema (the averages)")
    from ppema.environment import load_paddle

    load_paddle()
    from ppema.deploy.weights_export import export_official

    return export_official(
        arguments.from_official,
        arguments.to,
        weights=arguments.weights,
        format=arguments.format,
        decay=arguments.decay,
        updates=arguments.updates,
    )


if __name__ == "__main__":
    sys.exit(main(prog="python -m ppema.cli.export"))
