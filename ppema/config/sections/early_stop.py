"""The section `train.early_stop`: when a run without further improvement ends."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, ValidatorFunctionWrapHandler, WithJsonSchema, WrapValidator

from ppema.averaging.decay import MOST_STEPS
from ppema.config.duration import Duration
from ppema.config.section import NotNegative, Section, examples
from ppema.config.sections.monitor import OneMonitor
from ppema.config.wording import fault
from ppema.errors import ConfigError
from ppema.values import shown


def _check_patience(value: Any, _: ValidatorFunctionWrapHandler) -> int | Duration:
    if isinstance(value, Duration) or (type(value) is int and 1 <= value <= MOST_STEPS):
        return value
    try:
        return Duration.parse(value)
    except ConfigError as error:
        if isinstance(value, str):
            raise fault(str(error)) from None
    raise fault(f"expected a number of evaluations >= 1, or a duration such as '10 epochs', got {shown(value)}")


# Serialised as an integer or as the text of a duration.
Patience = Annotated[
    int | Duration,
    WrapValidator(_check_patience),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 1, "maximum": MOST_STEPS}, {"type": "string", "pattern": Duration.pattern}]},
        mode="validation",
    ),
]


class EarlyStop(Section):
    """The end of a run whose monitored metric does not improve any more."""

    model_config = examples(
        {"patience": 5},
        {"monitor": "ema/accuracy", "patience": "10 epochs", "min_change": 0.001},
    )

    monitor: OneMonitor = Field(
        default=None,
        description="`<weights>/<metric>` that must improve. null: the first of `train.monitor`. `train.mode` says in which "
        "direction.",
    )
    patience: Patience = Field(
        description="The run ends at the evaluation that is this far from the last improvement: a number of evaluations, or a "
        "duration."
    )
    min_change: NotNegative = Field(
        default=0.0, description="A value improves only if it is better than the last improvement by more than this."
    )
