"""Reads the records of a run, the lines of its metrics.jsonl. Any other line is ignored."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ppema.errors import SetupError

_Step = Annotated[int, Field(ge=0, lt=2**63)]
# JSON accepts an integer of 400 digits, but float does not.
_Number = Annotated[float, Field(allow_inf_nan=False)]
_Figure = _Number | None  # null: a non-finite number


class _Evaluation(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")
    __pydantic_extra__: dict[str, _Figure | list[Any]]  # pyright: ignore[reportIncompatibleVariableOverride]

    kind: Literal["eval"]
    step: _Step
    epoch: _Number
    weights: str
    # Runs of older versions lack it, and null is unknown.
    seconds: _Figure = None


class _Health(BaseModel):
    model_config = ConfigDict(strict=True)

    window: _Figure
    distance: _Figure
    stalled: _Figure
    groups: dict[str, _Figure]


class _Interval(BaseModel):
    # Other figures: parts of the loss, rates, memory.
    model_config = ConfigDict(strict=True, extra="allow")
    __pydantic_extra__: dict[str, _Figure]  # pyright: ignore[reportIncompatibleVariableOverride]

    kind: Literal["train"]
    step: _Step
    epoch: _Number
    loss: _Figure
    lr: _Figure
    decay: dict[str, _Figure]
    # Runs of older versions lack these.
    skipped: _Figure = None
    health: dict[str, _Health] = {}


class Saved(BaseModel):
    """The record of a checkpoint.

    origin: the checkpoint of another run from which this one continued, if any; seconds: of training, None if unknown.
    """

    model_config = ConfigDict(strict=True)

    kind: Literal["checkpoint"] = "checkpoint"
    step: _Step
    origin: str | None = None
    seconds: _Figure = None


_KINDS: dict[Any, type[BaseModel]] = {"eval": _Evaluation, "train": _Interval}


def read_metrics(output: Path) -> list[dict[str, Any]]:
    """The train and eval records in a run's metrics.jsonl, in order. Other lines, such as a cut last one, are ignored.

    Returns an empty list if there is no such file. Raises SetupError if it can not be read.
    """
    # The line is validated, not its value: only there is a text with half a character refused.
    return [value for value, line in _lines(output) if _is(_KINDS.get(_kind(value)), line)]


def measures_of(record: Mapping[str, Any]) -> list[str]:
    """The measures of the record of an evaluation that are numbers. Others are arrays."""
    return [key for key, value in record.items() if key not in _Evaluation.model_fields and not isinstance(value, list)]


def newest_saved(output: Path) -> Saved | None:
    """The last record of a checkpoint in a run's metrics.jsonl; None if there is none. Raises as `read_metrics` does."""
    lines = [line for value, line in _lines(output) if _kind(value) == "checkpoint" and _is(Saved, line)]
    return Saved.model_validate_json(lines[-1]) if lines else None


def seconds_until(output: Path, step: int) -> float:
    """The seconds of training in the last record up to `step`; NaN if they are unknown. Raises as `read_metrics` does."""
    known = {**_KINDS, "checkpoint": Saved}
    found = [value for value, line in _lines(output) if _is(known.get(_kind(value)), line) and value["step"] <= step]
    if not step and not found:
        return 0.0
    # Records of checkpoints may come late, because a thread of its own writes checkpoints.
    found.sort(key=lambda record: record["step"])
    seconds = found[-1].get("seconds") if found else None
    return math.nan if seconds is None else seconds


def _lines(output: Path) -> Iterator[tuple[Any, str]]:
    """The value and the text of each line that is JSON."""
    file = output / "metrics.jsonl"
    if not file.exists():
        return
    if not file.is_file():
        raise SetupError(f"{file}: the run's records can not be read: it is no regular file")
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise SetupError(f"{file}: the run's records can not be read: {error.strerror}") from error
    for line in lines:
        # RecursionError: too deeply nested brackets.
        with contextlib.suppress(ValueError, RecursionError):
            yield json.loads(line), line


def _kind(value: Any) -> str | None:
    kind = value.get("kind") if isinstance(value, dict) else None
    return kind if isinstance(kind, str) else None


def _is(model: type[BaseModel] | None, line: str) -> bool:
    try:
        return model is not None and bool(model.model_validate_json(line))
    except ValidationError:
        return False


def to_json(value: Any) -> str:
    """`value` on one line; NaN and infinities, which JSON lacks, become null."""
    return json.dumps(finite(value))


def finite(value: Any) -> Any:
    """`value` with None instead of NaN and infinities, for JSON."""
    if isinstance(value, Mapping):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and value - value != 0 else value
