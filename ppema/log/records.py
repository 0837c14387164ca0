"""The records of a run, the lines of its metrics.jsonl, as they are read back: what is none of them is left out."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ppema.errors import SetupError

_Step = Annotated[int, Field(ge=0, lt=2**63)]
# An integer of 400 digits is one for JSON, and no float.
_Number = Annotated[float, Field(allow_inf_nan=False)]
_Figure = _Number | None  # null: one that was not finite


class _Evaluation(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")
    __pydantic_extra__: dict[str, _Figure]  # pyright: ignore[reportIncompatibleVariableOverride]

    kind: Literal["eval"]
    step: _Step
    epoch: _Number
    weights: str


class _Health(BaseModel):
    model_config = ConfigDict(strict=True)

    window: _Figure
    distance: _Figure
    stalled: _Figure
    groups: dict[str, _Figure]


class _Interval(BaseModel):
    model_config = ConfigDict(strict=True)

    kind: Literal["train"]
    step: _Step
    epoch: _Number
    loss: _Figure
    lr: _Figure
    decay: dict[str, _Figure]
    # Runs that began before there were these lack them.
    skipped: _Figure = None
    health: dict[str, _Health] = {}


class Saved(BaseModel):
    """The line of a checkpoint: of which step; origin: the checkpoint of another run that this one went on from, if any."""

    model_config = ConfigDict(strict=True)

    kind: Literal["checkpoint"] = "checkpoint"
    step: _Step
    origin: str | None = None


_KINDS: dict[Any, type[BaseModel]] = {"eval": _Evaluation, "train": _Interval}


def read_metrics(output: Path) -> list[dict[str, Any]]:
    """The records of a run's metrics.jsonl, in order; lines that are none, such as a half-written last one, are left out.

    None where there is no such file. Raises SetupError for one that can not be read.
    """
    # The line, as a text of half a character is refused only there.
    return [value for value, line in _lines(output) if _is(_KINDS.get(_kind(value)), line)]


def newest_saved(output: Path) -> Saved | None:
    """The last checkpoint that the run's metrics.jsonl tells of; None where it tells of none. Raises as `read_metrics`."""
    lines = [line for value, line in _lines(output) if _kind(value) == "checkpoint" and _is(Saved, line)]
    return Saved.model_validate_json(lines[-1]) if lines else None


def _lines(output: Path) -> Iterator[tuple[Any, str]]:
    """The values that the lines hold, and the lines; those that are no JSON are left out."""
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
        # RecursionError: brackets without end.
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
    """`value` with null in place of NaN and infinities, for JSON."""
    if isinstance(value, Mapping):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and value - value != 0 else value
