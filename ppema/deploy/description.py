"""The description of an exported model, model.json: inputs, outputs, weights, figures, config, versions and checksums."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt, ValidationError

from ppema.checkpoint.tensors import read_bytes
from ppema.errors import CheckpointError, printable
from ppema.ir import dtype_name
from ppema.losses import Scores
from ppema.programs.prediction import Prediction

DESCRIPTION = "model.json"
CARD = "README.md"  # for people, who may edit it
_FORMAT = "ppema model 1"
_LARGEST = 2**26  # bytes; a description has a few kilobytes
_CHUNK = 2**20

_MEANINGS = {
    "softmax": "scores of classes; softmax over the axis makes probabilities",
    "sigmoid": "scores of yes against no; sigmoid makes probabilities",
    "exp": "log-probabilities of classes; exp makes probabilities",
    "none": "probabilities",
}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)


class DescribedInput(_Part):
    """One input. shape: with the batch axis, -1; another -1 differs from batch to batch."""

    name: str
    shape: list[int]
    dtype: str
    meaning: str


class DescribedOutput(_Part):
    """One output.

    shape: as of an input. by: how its numbers become probabilities, as in `losses.Scores`; null: they do not, or nothing is
    known. axis: that of the classes, counted from the end; null if each number is a yes or no. classes: their names along the
    axis, if known.
    """

    name: str
    shape: list[int]
    dtype: str
    meaning: str
    by: Literal["softmax", "sigmoid", "exp", "none"] | None = None
    axis: int | None = None
    classes: list[str] | None = None


class DescribedWeights(_Part):
    """The origin of the weights.

    name: "raw", an average's, or a file's; what: their description; step: of their run, if known. schedule: the section of the
    average in the config. window: the effective window in steps, `averaging.health.window`. Both are null for other weights.
    """

    name: str
    what: str
    step: NonNegativeInt | None = None
    schedule: dict[str, Any] | None = None
    window: FiniteFloat | None = None


class DescribedFigures(_Part):
    """Figures of the evaluation set, by weights and name. A non-finite figure is null.

    label: of the data in the config, such as "data.eval"; samples: their number, null if the data could not be opened.
    missing: why figures are absent, or not those of the exported weights; "" if nothing is absent.
    """

    label: str
    samples: NonNegativeInt | None
    weights: dict[str, dict[str, FiniteFloat | None]]
    missing: str = ""


class DescribedFile(_Part):
    """A file beside the description. size: in bytes; sha256: in hexadecimal."""

    size: NonNegativeInt
    sha256: str


class ModelDescription(_Part):
    """The content of model.json.

    inputs, outputs: in the program's order. A program may have other names for its outputs than `outputs` has. preprocessing:
    from a picture file to the input, null if unknown. classes: their names, null if unknown. config: resolved. versions: of
    "ppema" and "paddle", and of the converter to ONNX. files: by name.
    """

    format: Literal["ppema model 1"] = _FORMAT
    name: str
    inputs: list[DescribedInput]
    outputs: list[DescribedOutput]
    preprocessing: dict[str, Any] | None = None
    classes: list[str] | None = None
    weights: DescribedWeights
    metrics: DescribedFigures
    config: dict[str, Any]
    versions: dict[str, str]
    files: dict[str, DescribedFile] = Field(default={})

    def with_files(self, folder: Path, names: Iterable[str]) -> ModelDescription:
        """A copy that has size and checksum of the files `names` in `folder`. Raises OSError."""
        return self.model_copy(update={"files": {name: described_file(folder / name) for name in names}})

    def to_json(self) -> str:
        """The text of model.json, which `read_description` reads back to an equal description."""
        return self.model_dump_json(indent=1) + "\n"


def read_description(folder: Path) -> ModelDescription:
    """The description in `folder`. Raises CheckpointError if it is missing, damaged or of a later format."""
    file = folder / DESCRIPTION
    if not file.exists():
        raise CheckpointError(f"{folder}: expected a folder that export wrote: it has no {DESCRIPTION}")
    return parse_description(read_bytes(file, most=_LARGEST), str(file))


def parse_description(content: bytes | str, where: str) -> ModelDescription:
    """The description in `content`, which comes from `where`. Raises CheckpointError as `read_description` does."""
    try:
        written = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{where}: damaged: it is no JSON") from error
    found = written.get("format") if isinstance(written, dict) else None
    if not isinstance(found, str) or not found.startswith("ppema model "):
        raise CheckpointError(f"{where}: it is no description of an exported model")
    if found != _FORMAT:
        raise CheckpointError(f"{where}: its format is {printable(found)!r}; this version of ppema reads {_FORMAT!r}")
    try:
        return ModelDescription.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise CheckpointError(f"{where}: damaged: {printable(key)}: {first['msg']}") from error


def check_files(folder: Path, description: ModelDescription) -> None:
    """Compare the files of `description` in `folder` with their checksums; a card may differ, since people edit it.

    Raises CheckpointError for the first that differs.
    """
    for name, written in ((name, each) for name, each in description.files.items() if name != CARD):
        try:
            found = described_file(folder / name)
        except OSError as error:
            raise CheckpointError(f"{folder / name}: {error.strerror}") from error
        if found != written:
            raise CheckpointError(f"{folder / name}: damaged: its checksum is not that in {DESCRIPTION}")


def described_inputs(prediction: Prediction) -> list[DescribedInput]:
    """The inputs of `prediction`, as its program takes them."""
    plain = "what data.eval returns, after its transforms; the program applies data.normalize"
    of_bytes = "pictures as bytes, [N, height, width, channels], of this size; the program prepares them"
    return [
        DescribedInput(
            name=each.name, shape=[-1, *each.shape], dtype=each.dtype, meaning=of_bytes if each.dtype == "uint8" else plain
        )
        for each in prediction.inputs
    ]


def described_outputs(
    prediction: Prediction, classes: Sequence[str] | None = None, *, results: bool = False
) -> list[DescribedOutput]:
    """The outputs of `prediction`; its `results` if these are exported. classes: their names, for outputs of as many."""
    found = []
    for name, output in (prediction.results if results else prediction.outputs).items():
        scores = prediction.scores.get(name)
        if scores is not None and results:
            scores = Scores("none", scores.axis)
        shape = [int(size) for size in output.shape]
        named = classes is not None and scores is not None and scores.axis is not None and shape[scores.axis] == len(classes)
        meaning = "numbers as the model returns them" if scores is None else _MEANINGS[scores.by]
        found.append(
            DescribedOutput(
                name=name,
                shape=shape,
                dtype=dtype_name(output),
                meaning=meaning,
                by=None if scores is None else scores.by,
                axis=None if scores is None else scores.axis,
                classes=list(classes or ()) if named else None,
            )
        )
    return found


def described_file(file: Path) -> DescribedFile:
    """Size and checksum of `file`. Raises OSError."""
    digest, size = hashlib.sha256(), 0
    with file.open("rb") as opened:
        while content := opened.read(_CHUNK):
            digest.update(content)
            size += len(content)
    return DescribedFile(size=size, sha256=digest.hexdigest())
