"""The export of a model in any format."""

from __future__ import annotations

import os
from typing import Literal

from ppema.config import RAW, Config
from ppema.deploy.inference import ExportedModel, ProgramFormat, export_program
from ppema.deploy.weights_export import ArrayFormat, Exported, Names, export_arrays
from ppema.errors import Naming, PpemaError

Format = Literal[ArrayFormat, ProgramFormat]


def export(
    config: Config,
    to: str | os.PathLike[str],
    *,
    format: Format | None = None,
    weights: str | os.PathLike[str] = RAW,
    checkpoint: str | os.PathLike[str] | None = None,
    names: Names | None = None,
    fold: bool = False,
    preprocess: bool = False,
) -> Exported | ExportedModel:
    """`ppema.api.export`, once paddle is loaded. Arguments, result and errors are the same."""
    if format in ("paddle", "onnx", "hub"):
        if names is not None:
            raise PpemaError(Naming("{names}: a program has its variables' own names: leave it out"))
        return export_program(
            config, to, weights=weights, checkpoint=checkpoint, format=format, fold=fold, preprocess=preprocess
        )
    for name, given in (("fold", fold), ("preprocess", preprocess)):
        if given:
            raise PpemaError(Naming(f"{{{name}}}: it requires {{format}} paddle, onnx or hub: a file of arrays has no program"))
    return export_arrays(config, to, format=format, weights=weights, checkpoint=checkpoint, names=names)
