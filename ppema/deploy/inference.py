"""The export of a model as a folder: its inference program in the form of Paddle or ONNX, and model.json."""

from __future__ import annotations

import importlib.metadata
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import paddle

from ppema.checkpoint.paths import output_of
from ppema.config import RAW, Config
from ppema.data.class_names import classes_of
from ppema.data.pictures.preprocessing import Preprocessing
from ppema.deploy.card import card
from ppema.deploy.description import CARD, DESCRIPTION, ModelDescription, described_inputs, described_outputs
from ppema.deploy.fold import fold_norms, norms
from ppema.deploy.loaded_back import (
    Compared,
    LoadedProgram,
    NotRunError,
    by_inference,
    by_load_inference_model,
    compare,
    program_files,
)
from ppema.deploy.new_folder import check_folder, new_folder
from ppema.deploy.onnx_conversion import OnnxModel, check_installation, convert
from ppema.deploy.origin import described_weights, figures
from ppema.deploy.ready import ReadyModel, ready_model
from ppema.environment import threads_in_use
from ppema.errors import ConfigError, TrainingError
from ppema.ir import backend, scope
from ppema.user_code.blame import blamed
from ppema.version import VERSION

ProgramFormat = Literal["paddle", "onnx", "hub"]
PROGRAM_NAME = "inference"  # of the files of Paddle's program
_ONNX = "model.onnx"


@dataclass(frozen=True)
class Folded:
    """BatchNorms folded into products. by: their number by the kind of product; left: those that stay."""

    by: dict[str, int]
    left: int

    def __str__(self) -> str:
        done = sum(self.by.values())
        if not done + self.left:
            return "there is no BatchNorm to fold"
        kinds = f" into {', '.join(f'{count} {kind}' for kind, count in self.by.items())}" if done else ""
        left = "; no product that only it reads is before the others" if self.left else ""
        return f"{done} of {done + self.left} BatchNorms folded{kinds}{left}"


@dataclass(frozen=True)
class ExportedModel:
    """A written folder.

    files: their names; weights: in words; folded: None if nothing was to be folded; compared: with each program that loaded
    it back; random: why the samples are random ones, "" if they are real; missing: why model.json lacks figures, "" if not.
    """

    folder: str
    format: str
    files: list[str]
    weights: str
    folded: Folded | None
    compared: list[Compared]
    random: str
    missing: str


def export_program(
    config: Config,
    to: str | os.PathLike[str],
    *,
    weights: str | os.PathLike[str] = RAW,
    checkpoint: str | os.PathLike[str] | None = None,
    format: ProgramFormat = "paddle",
    fold: bool = False,
    preprocess: bool = False,
) -> ExportedModel:
    """Write an inference program of the model of `config` into the folder `to`, as `ppema.api.export` describes.

    Raises SetupError if ONNX lacks a package, and PpemaError if the program can not become ONNX, and for a folder of other
    files; CheckpointError, ConfigError, DataError. Raises TrainingError if the folder can not be written, or if the export is
    not the model's program; `to` is then unchanged.
    """
    target = Path(to)
    check_folder(target)
    if format == "onnx":
        check_installation()
    ready = ready_model(config, weights, checkpoint, preprocess=preprocess)
    description = describe(ready)
    with new_folder(target) as folder:
        if format == "onnx":
            with TemporaryDirectory(dir=folder) as inner:
                folded = write_program(ready, Path(inner) / PROGRAM_NAME, fold=fold)
                convert(*program_files(Path(inner) / PROGRAM_NAME), folder / _ONNX, list(ready.outputs))
            compared = [_compared(ready, folder / _ONNX, "onnxruntime", OnnxModel(folder / _ONNX).run)]
        else:
            folded = write_program(ready, folder / PROGRAM_NAME, fold=fold)
            compared = compare_program(ready, folder / PROGRAM_NAME)
        if format == "onnx":
            versions = {**description.versions, "paddle2onnx": importlib.metadata.version("paddle2onnx")}
            description = description.model_copy(update={"versions": versions})
        description = description.with_files(folder, sorted(each.name for each in folder.iterdir()))
        if format == "hub":
            (folder / CARD).write_text(card(description, PROGRAM_NAME), encoding="utf-8")
            description = description.with_files(folder, [*description.files, CARD])
        (folder / DESCRIPTION).write_text(description.to_json(), encoding="utf-8")
        files = sorted(each.name for each in folder.iterdir())
    return ExportedModel(
        folder=str(target),
        format=format,
        files=files,
        weights=ready.found.what,
        folded=folded,
        compared=compared,
        random=ready.samples.why,
        missing=description.metrics.missing,
    )


def describe(ready: ReadyModel) -> ModelDescription:
    """The description of the model, without files. Figures that no checkpoint keeps are measured."""
    try:
        preprocessing = Preprocessing.of(ready.config, ready.fields).as_json()
    except ConfigError:
        preprocessing = None  # the data is no pictures
    samples, classes = ready.samples, classes_of(ready.config)
    return ModelDescription(
        name=output_of(ready.config).name,
        inputs=described_inputs(ready.exported),
        outputs=described_outputs(ready.exported, classes, results=ready.preparation is not None),
        preprocessing=preprocessing,
        classes=None if classes is None else list(classes),
        weights=described_weights(ready.found),
        metrics=figures(ready.config, ready.found, label=samples.label, samples=samples.total, why=samples.why),
        config=ready.config.model_dump(mode="json"),
        versions={"ppema": VERSION, "paddle": paddle.__version__},
    )


def write_program(ready: ReadyModel, prefix: Path, *, fold: bool) -> Folded | None:
    """Write the program as `prefix`.json or .pdmodel, and its weights as `prefix`.pdiparams. Returns what was folded, if asked.

    fold: fold BatchNorms; the weights in the scope of `ready` are then changed during the call only. Raises TrainingError.
    """
    prediction = ready.exported
    program, inputs, outputs = backend().for_inference(prediction.program, list(ready.outputs.values()))
    before = {each.name: scope.get(ready.scope, each.name) for each in prediction.parameters} if fold else {}
    there = norms(program) if fold else 0
    try:
        done = fold_norms(program, outputs, ready.scope) if fold else Counter[str]()
        with paddle.static.scope_guard(ready.scope):
            feeds = [inputs[field.name] for field in prediction.inputs]
            executor = paddle.static.Executor(paddle.CPUPlace())
            paddle.static.save_inference_model(str(prefix), feeds, outputs, executor, program=program)
        file = program_files(prefix)[0]
        file.write_bytes(backend().without_traces(file.read_bytes()))
    except Exception as error:
        raise TrainingError(f"the inference program can not be written: {blamed(error)}") from error
    finally:
        scope.put(ready.scope, before)
    return Folded(dict(done), there - sum(done.values())) if fold else None


def compare_program(ready: ReadyModel, prefix: Path) -> list[Compared]:
    """Load the program written as `prefix` back by both of Paddle's loaders, and compare it with the live program.

    Raises TrainingError if it can not be loaded or run, and if its outputs differ too much.
    """
    file, threads = program_files(prefix)[0], threads_in_use()
    found = [_compared(ready, file, "load_inference_model", by_load_inference_model(prefix))]
    try:
        found.append(_compared(ready, file, "paddle.inference", by_inference(prefix, threads)))
    except NotRunError:
        # Paddle 3.3 can not run some operations on oneDNN, such as bilinear interpolation.
        by = "paddle.inference after Config.disable_mkldnn(), without which it fails"
        found.append(_compared(ready, file, by, by_inference(prefix, threads, onednn=False)))
    return found


def _compared(ready: ReadyModel, file: Path, by: str, run: LoadedProgram) -> Compared:
    return compare(file, run, by, ready.expected, ready.samples.arrays, ready.samples.what)
