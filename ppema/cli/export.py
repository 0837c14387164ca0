"""tools/export.py: weights of a run as a file for other programs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ppema.cli.common import add_json, load, parser, print_json, run


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 failed, 2 bad input."""
    made = parser(
        "export",
        "Write weights of a run to one file: safetensors, which eval --weights and init_from read, or Paddle's pdparams, for "
        "layer.set_state_dict(paddle.load(FILE)).",
    )
    made.add_argument("--to", metavar="FILE", required=True, help="the file; one that is there is replaced")
    made.add_argument("--format", choices=("safetensors", "pdparams"), help="default: what the file's name ends in")
    made.add_argument(
        "--weights", metavar="raw|NAME|PATH", default="raw", help="or those in a file *.safetensors (default: raw)"
    )
    made.add_argument("--checkpoint", metavar="PATH|best|last", help="default: last")
    made.add_argument(
        "--names",
        choices=("variables", "places"),
        help="how arrays are called: by their variables, as in static programs (default for safetensors), or by their place in "
        "the model, as in state_dict() (default for pdparams)",
    )
    add_json(made)
    return run(_export, made, argv)


def _export(arguments: argparse.Namespace) -> int:
    config = load(arguments)
    from dataclasses import asdict

    from ppema.run.export import export

    done = export(
        config,
        arguments.to,
        format=arguments.format,
        weights=arguments.weights,
        checkpoint=arguments.checkpoint,
        names=arguments.names,
    )
    print(f"{done.file}: {done.weights}, {done.variables} variables by {'name' if done.names == 'variables' else 'place'}")
    if arguments.json:
        print_json(asdict(done))
    return 0
