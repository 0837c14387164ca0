"""The section `sweep`: which keys a sweep varies, how often it trains, and how it compares its trials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, PlainSerializer, PlainValidator, ValidationError, WithJsonSchema

from ppema.config.section import Count, Flag, Fraction, Section, examples, plain_args
from ppema.config.sections.monitor import OneMonitor
from ppema.config.swept import FORMS, Choices, Range, Swept, parse_swept
from ppema.config.wording import fault, faults
from ppema.errors import ConfigError, Path
from ppema.values import shown

# Keys that a sweep sets itself, or that its trials must share.
_NOT_SWEPT = {
    "seed": "a sweep sets it: give `seeds`, the number of runs of each trial",
    "output": "a sweep sets it: each run has its own folder",
    "sweep": "it is no part of a run",
    "train.monitor": "all trials are compared by one metric: give `monitor` of the sweep",
    "train.mode": "all trials are compared by one metric: give `mode` of the sweep",
}


def _check_over(value: Any) -> dict[str, Swept]:
    if not isinstance(value, Mapping):
        raise fault(f"expected a mapping from keys of the config to ranges or lists, got {shown(value)}")
    found: list[tuple[Path, str]] = []
    swept: dict[str, Swept] = {}
    for key, each in value.items():
        try:
            if message := _key_fault(str(key), [str(other) for other in value]):
                raise ConfigError.of(message)
            swept[str(key)] = _swept(each)
        except ConfigError as error:
            found += [((str(key),), problem.message) for problem in error.problems]
    if found:
        raise faults(found)
    return swept


def _key_fault(key: str, keys: list[str]) -> str | None:
    """The message for a key that can not be swept; None for a valid one. keys: all swept ones."""
    parts = key.split(".")
    if not all(each and each == each.strip() for each in parts) or "=" in key:
        return "expected a key such as lr.args.learning_rate"
    for refused, message in _NOT_SWEPT.items():
        if _holds(refused, key) or _holds(key, refused):
            return message
    if above := next((each for each in keys if each != key and _holds(each, key)), None):
        return f"{above!r}, which holds it, is swept as well: sweep one of them"
    return None


def _holds(outer: str, inner: str) -> bool:
    """Whether the key `inner` is `outer`, or below it."""
    return f"{inner}.".startswith(f"{outer}.")


def _swept(value: Any) -> Swept:
    """A range or the values of a key. Raises ConfigError."""
    if isinstance(value, Choices | Range):
        return value
    if isinstance(value, str):
        return parse_swept(value)
    if not isinstance(value, list | tuple):
        raise ConfigError.of(f"expected {FORMS}, got {shown(value)}")
    try:
        return Choices(tuple(plain_args({"values": value})["values"]))
    except ValidationError as error:
        raise ConfigError.of(error.errors()[0]["msg"]) from None


def _written(over: dict[str, Swept]) -> dict[str, Any]:
    """`over` as plain data."""
    return {key: list(each.values) if isinstance(each, Choices) else str(each) for key, each in over.items()}


Over = Annotated[
    dict[str, Swept],
    PlainValidator(_check_over),
    PlainSerializer(_written),
    WithJsonSchema({"type": "object", "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "array"}]}}),
]


class Sweep(Section):
    """Many runs of the config, which differ in some keys. `sweep` trains them; `train` ignores this section."""

    model_config = examples(
        {"over": {"lr.args.learning_rate": "log:1e-3..1e-1", "averages.ema.decay": [0.99, 0.999]}, "trials": 30, "seeds": 3},
        {
            "over": {"optimizer.weight_decay": "log:1e-5..1e-3:3", "data.train.batch_size": [32, 64]},
            "method": "grid",
            "monitor": "raw/my_score",
            "mode": "max",
            "objective": "best",
            "prune": True,
            "prune_after": 0.7,
            "jobs": 2,
            "lengths": True,
        },
    )

    over: Over = Field(
        default={},
        description="The swept keys, such as `lr.args.learning_rate`, and their values: a list, or a range `log:1e-3..1e-1`, "
        "`0.5..0.9` (a float) or `int:2..8`. `:5` after a range is its number of points in a grid. {}: one trial.",
    )
    method: Literal["grid", "random", "tpe"] | None = Field(
        default=None,
        description="Choice of the trials. grid: all combinations. random: independent draws. tpe: Optuna's sampler, which "
        "learns from the trials so far. null: grid if every key has a list or a number of points, and otherwise tpe.",
    )
    trials: Count | None = Field(
        default=None, description="Number of trials of random and tpe. null: 20. A grid has all its combinations."
    )
    seeds: Count = Field(
        default=1, description="Runs of each trial, with the seeds `seed`, `seed + 1`, ... A trial is compared by their mean."
    )
    monitor: OneMonitor = Field(
        default=None,
        description="`<weights>/<metric>` that compares the trials. null: the first of `train.monitor`. Each run monitors it.",
    )
    mode: Literal["max", "min"] | None = Field(
        default=None, description="Whether the largest or the smallest value is best. null: as for `train.mode`."
    )
    objective: Literal["last", "best"] = Field(
        default="last", description="Value of a run: of its last evaluation, or of its best one."
    )
    prune: Flag = Field(
        default=False,
        description="Whether a run ends early if its monitored metric is worse than the median of five or more complete trials "
        "at the same share of the run.",
    )
    prune_after: Fraction = Field(
        default=0.5,
        description="Share of each run before which it is not pruned: at first, an average lags behind the weights.",
    )
    jobs: Count = Field(default=1, description="Runs that are trained at the same time. They share the cores.")
    lengths: Flag = Field(
        default=False,
        description="Whether the best length of an average is searched after each run. The run takes snapshots of two power "
        "functions for it, and adds those that the config lacks.",
    )
