"""What a checkpoint says beside its arrays: the manifest, as a typed model that is checked whenever it is read."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from ppema.run.best import Best

FORMAT = 1


class Position(BaseModel):
    """`state.State`, as it is saved."""

    model_config = ConfigDict(frozen=True, strict=True)

    step: NonNegativeInt
    epoch: NonNegativeInt
    batch: NonNegativeInt
    samples: NonNegativeInt


class SavedAverage(BaseModel):
    """The names of an average's variables in its file, as in `passes.ema.Average`."""

    model_config = ConfigDict(frozen=True, strict=True)

    shadow_of: dict[str, str]
    count: str
    weight: str


class Manifest(BaseModel):
    """The content of manifest.json.

    format: of the checkpoint; ppema, paddle, threads: what wrote it; state: the run's position; lr: the schedule's numbers
    (`optimizers.lr_state`); best, metrics: as in the run's result, a measure that was not finite being null; averages: by
    name; structured: the variables' names by their place in the model; config: the resolved config.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    format: Literal[1]
    ppema: str
    paddle: str
    threads: int
    state: Position
    lr: dict[str, Any]
    best: Best | None
    metrics: dict[str, dict[str, float | None]]
    averages: dict[str, SavedAverage]
    structured: dict[str, str]
    config: dict[str, Any]


AnyManifest = TypeVar("AnyManifest", bound=BaseModel)


def parse(kind: type[AnyManifest], text: str) -> AnyManifest:
    """The manifest of that kind that `text` is. Raises ValueError, in one line, for what is none."""
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{key}: {first['msg']}" if key else first["msg"]) from error
