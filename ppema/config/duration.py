"""A length of training with its unit: `50 steps`, `1 epoch`, `2000 samples` or `10 %` of the run."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from ppema.averaging.decay import MOST_STEPS
from ppema.config.wording import fault
from ppema.errors import ConfigError
from ppema.values import shown

Unit = Literal["steps", "epochs", "samples", "percent"]

_PATTERN = r"^\s*([0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)\s*(steps?|epochs?|samples?|percent|%)\s*$"
_UNITS: dict[str, Unit] = {
    "step": "steps",
    "epoch": "epochs",
    "sample": "samples",
    "%": "percent",
}
_FORMS = "'50 steps', '1 epoch', '2000 samples' or '10 %'"


@dataclass(frozen=True)
class Duration:
    """A positive length of training: `value` times `unit`.

    Steps and samples are whole numbers. Percent refer to the whole run. Raises ConfigError for other values, and for values
    above `MOST_STEPS`. pattern: of the text of a duration.
    """

    pattern: ClassVar[str] = _PATTERN

    value: float
    unit: Unit

    def __post_init__(self) -> None:
        if not 0 < self.value <= MOST_STEPS:
            raise ConfigError.of(f"expected a duration above 0 and up to 1e15, got {shown(str(self))}")
        if self.unit in ("steps", "samples") and self.value != int(self.value):
            raise ConfigError.of(f"expected a whole number of {self.unit}, got {shown(str(self))}")

    @classmethod
    def parse(cls, text: object) -> Duration:
        """The duration in `text`, such as "50 steps".

        Raises ConfigError for any other form. A number without a unit is refused, because its unit would be a guess.
        """
        match = re.match(_PATTERN, text) if isinstance(text, str) else None
        if match is None:
            raise ConfigError.of(f"expected a duration such as {_FORMS}, got {shown(text)}")
        number, unit = match.groups()
        return cls(float(number), _UNITS.get(unit.removesuffix("s"), cast(Unit, unit)))

    def __str__(self) -> str:
        number = str(int(self.value)) if float(self.value).is_integer() else repr(float(self.value))
        unit = "%" if self.unit == "percent" else self.unit
        return f"{number} {unit.removesuffix('s') if self.value == 1 else unit}"

    def to_steps(self, *, steps_per_epoch: int, batch_size: int, total_steps: int | None) -> int:
        """The number of steps, rounded to the nearest integer and at least 1. For arguments and errors see `exact_steps`."""
        exact = self.exact_steps(steps_per_epoch=steps_per_epoch, batch_size=batch_size, total_steps=total_steps)
        return max(1, math.floor(exact + 0.5))

    def exact_steps(self, *, steps_per_epoch: int, batch_size: int, total_steps: int | None) -> float:
        """The number of steps, with its fractional part.

        steps_per_epoch, batch_size: of the training data, in steps and in samples.
        total_steps: the length of the run in steps; None if it is unknown. Raises ConfigError for percent if it is None.
        """
        match self.unit:
            case "steps":
                return self.value
            case "epochs":
                return self.value * steps_per_epoch
            case "samples":
                return self.value / batch_size
            case "percent":
                if total_steps is None:
                    raise ConfigError.of(f"{str(self)!r} needs a run of known length; give it in steps or epochs")
                return self.value * total_steps / 100

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "pattern": _PATTERN}

    @classmethod
    def _validate(cls, value: Any) -> Duration:
        if isinstance(value, Duration):
            return value
        try:
            return cls.parse(value)
        except ConfigError as error:  # pydantic collects only errors of its own class
            raise fault(str(error)) from None
