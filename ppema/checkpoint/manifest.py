"""The manifest of a folder of arrays: a typed model, which is validated when a run makes it and when it is read.

A manifest is JSON. Its first key is its own checksum: XXH3 of 128 bits, in hexadecimal, of the file's bytes with zeros in place
of the checksum. The checksum reveals every change. The manifest also holds the size and checksum of every file beside it.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeVar

import xxhash
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from ppema.checkpoint.begun import Begun
from ppema.checkpoint.best import Best
from ppema.checkpoint.state import Losses, State
from ppema.checkpoint.tensors import Record
from ppema.checkpoint.waiting import Waiting
from ppema.errors import printable

FORMAT = 2

_ZEROS = "0" * 32
_SEAL = re.compile(rb'\{\s*"checksum": ?"([0-9a-f]{32})"')
# A name without folders, so that the file is in the folder itself.
_FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*\.safetensors$")]


class FolderManifest(BaseModel):
    """The keys of every manifest. checksum: its own; format: of the folder; files: their records by name."""

    # Instances that a run made are validated too, not only those from files.
    model_config = ConfigDict(frozen=True, strict=True, revalidate_instances="always")

    checksum: str = _ZEROS
    format: Literal[2] = FORMAT
    files: dict[_FileName, Record] = {}


class SavedAverage(BaseModel):
    """The names of an average's variables in its file, as in `passes.average.Average`, and its progress.

    steps: optimizer steps seen; total_weight: W, the divisor of the bias correction. The file holds both too.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    shadow_of: dict[str, str]
    count: str
    weight: str
    steps: NonNegativeInt
    total_weight: NonNegativeFloat


class SavedField(BaseModel):
    """One field of the samples that a run evaluates, after its transforms, as in `data.Field`.

    shape: without the batch axis; -1 is a dimension that differs from batch to batch.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    name: str
    shape: list[int]
    dtype: str
    is_target: bool


_LATER = ("onednn", "own_layers", "mkl", "early_stop", "begun", "owed", "fields")
# What a process left undone after the last step of a checkpoint, because the data failed.
Owed = Literal["evaluation", "statistics"]


class Manifest(FolderManifest):
    """The content of a checkpoint's manifest.json.

    ppema, paddle: the versions that wrote it. threads: their number. onednn: whether `runtime.onednn` changed the kernels.
    own_layers: whether C++ operations of ppema computed parts of layers, and rounded differently from Paddle's.
    mkl: the variables of the environment that chose MKL's code, which computes products of matrices; "": none.
    state: the run's position. Epoch and batch determine the next samples, because the order of the data is a pure function of
    the config's seed and the epoch.
    random: the seed of the next step, a pure function of the config's seed and the step. Generators have no other state.
    lr: the schedule's numbers (`optimizers.optimizer.lr_state`). best: by monitored metric.
    metrics: as in the run's result; a non-finite measure is null. interval: the losses since the last log line. early_stop: the
    state of `train.early_stop`. begun: the micro-batches done of the step after `state`; the part "begun" holds their sums.
    owed: an event after the last step that was broken off, and that a run which continues does first: the evaluation, or the
    measurement of the averages' BatchNorm statistics.
    fields: those of a sample, inputs first; none in a checkpoint of an earlier version.
    averages: by name. structured: the variables' names by their place in the model. config: the resolved config.
    """

    ppema: str
    paddle: str
    threads: int
    onednn: bool = False
    own_layers: bool = False
    mkl: str = ""
    state: State
    random: int
    lr: dict[str, Any]
    best: dict[str, Best]
    metrics: dict[str, dict[str, float | None]]
    interval: Losses
    early_stop: Waiting | None = None
    begun: Begun | None = None
    owed: Owed | None = None
    fields: list[SavedField] = []
    averages: dict[str, SavedAverage]
    structured: dict[str, str]
    config: dict[str, Any]

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Without a feature, a manifest equals one from before its key existed.
        found = {key: value for key, value in handler(self).items() if key not in _LATER or value}
        if not self.interval.parts:
            del found["interval"]["parts"]
        return found


AnyManifest = TypeVar("AnyManifest", bound=FolderManifest)


def sealed(manifest: FolderManifest) -> tuple[bytes, str]:
    """The content of the manifest's file, with its checksum filled in, and that checksum."""
    content = manifest.model_copy(update={"checksum": _ZEROS}).model_dump_json(indent=1).encode()
    checksum = xxhash.xxh3_128_hexdigest(content)
    return content.replace(_ZEROS.encode(), checksum.encode(), 1), checksum


def parse(kind: type[AnyManifest], content: bytes) -> AnyManifest:
    """The manifest in `content`. Raises ValueError with one line if it is no manifest of that kind, or was changed."""
    seal = _SEAL.match(content)
    if seal is None:
        raise ValueError("it does not begin with its checksum")
    unsealed = content.replace(seal[1], _ZEROS.encode(), 1)
    if xxhash.xxh3_128_hexdigest(unsealed) != seal[1].decode():
        raise ValueError("its checksum is not that of what was written")
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{printable(key)}: {first['msg']}" if key else first["msg"]) from error
