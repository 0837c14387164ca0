"""The base of every config section: a frozen model that refuses unknown keys, and the types of its values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    Strict,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic.functional_validators import ModelWrapValidatorHandler

from ppema.averaging.decay import MOST_STEPS
from ppema.config.wording import counting, expecting, fault, faults, in_our_words, key_fault, not_in_float32
from ppema.errors import ConfigError, Path, Problem
from ppema.values import shown

if TYPE_CHECKING:
    from typing_extensions import Self


class Section(BaseModel):
    """Base of every config section. Unknown keys are errors; instances are immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="wrap")
    @classmethod
    def _say_it_in_our_words(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(value)
        except ValidationError as error:
            raise faults(in_our_words(error, cls)) from None

    def replace(self, **changes: Any) -> Self:
        """A copy with `changes`, validated, unlike that of `model_copy(update=...)`. Raises ConfigError."""
        try:
            return type(self).model_validate({**dict(self), **changes})
        except ValidationError as error:
            raise ConfigError(Problem(path, message) for path, message in in_our_words(error, type(self))) from error


def examples(*sections: Any) -> ConfigDict:
    """The `model_config` that holds a section's examples. Each example is valid; together they use every key."""
    return ConfigDict(json_schema_extra={"examples": list(sections)})


def plain_args(value: Any) -> dict[str, Any]:
    """A deep copy of `value` as plain data, which YAML can hold. The caller's mapping is not shared."""
    if not isinstance(value, Mapping):
        raise fault(f"expected a mapping, got {shown(value)}")
    found: list[tuple[Path, str]] = []
    copy = _plain(value, (), found)
    if found:
        raise faults(found)
    return copy


def _plain(value: Any, path: Path, found: list[tuple[Path, str]]) -> Any:
    if type(value) is int and not -(2**63) <= value < 2**63:
        # Paddle 3 crashes with a segmentation fault on a larger integer.
        found.append((path, f"expected an integer of 64 bits, got {shown(value)}"))
        return None
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Mapping):
        found += [((*path, str(key)), message) for key in value if (message := key_fault(key))]
        return {key: _plain(item, (*path, key), found) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, (*path, index), found) for index, item in enumerate(value)]
    found.append((path, f"expected plain data, got {shown(value)}"))
    return None


def _in_float32(value: float) -> float:
    if message := not_in_float32(value):
        raise fault(message)
    return value


# Strict: YAML distinguishes numbers, strings and booleans, so "5" is not 5 and true is not 1.
Flag = Annotated[bool, Strict(), expecting("true or false")]
Text = Annotated[str, Strict(), Field(min_length=1), expecting("a string that is not empty")]
Count = Annotated[int, Strict(), Field(ge=1, le=MOST_STEPS), counting("an integer", 1, MOST_STEPS)]
Count0 = Annotated[int, Strict(), Field(ge=0, le=MOST_STEPS), counting("an integer", 0, MOST_STEPS)]
# numpy seeds its generators with 32 bits.
Seed = Annotated[int, Strict(), Field(ge=0, le=2**32 - 1), expecting("an integer in [0, 4294967295]")]
Positive = Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False), expecting("a number > 0")]
NotNegative = Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False), expecting("a number >= 0")]
Fraction = Annotated[float, Strict(), Field(ge=0, lt=1, allow_inf_nan=False), expecting("a number in [0, 1)")]
Args = Annotated[dict[str, Any], PlainValidator(plain_args), WithJsonSchema({"type": "object"})]
# For numbers that Paddle takes as float32: there 1e-50 is 0 and 1e39 is infinite.
InFloat32 = AfterValidator(_in_float32)

# Names that the user chooses, of averages and of the parts of a loss.
NAME = "[A-Za-z][A-Za-z0-9_-]*"


def by_name(value: Any, handler: ValidatorFunctionWrapHandler, section: type[Section], taken: Mapping[str, str]) -> Any:
    """The sections of the mapping `value`, validated together with their names, so that one report has the faults of both.

    section: their type; taken: names that mean something else, with the message for each.
    """
    found: list[tuple[Path, str]] = []
    for name in value if isinstance(value, Mapping) else ():
        if name in taken:
            found.append(((name,), taken[name]))
        elif not re.fullmatch(NAME, str(name)):
            found.append(((name,), "expected a name made of letters, digits, '_' and '-' that starts with a letter"))
    try:
        sections = handler(value)
    except ValidationError as error:
        said = in_our_words(error, section)
        raise faults([*found, *((path, message + _remedy(value, path)) for path, message in said)]) from None
    if found:
        raise faults(found)
    return sections


def _remedy(value: Any, path: Path) -> str:
    """For a section that is null in the mapping `value`: how to leave it out. "" for any other fault."""
    if len(path) != 1 or not isinstance(value, Mapping) or value.get(path[0], "") is not None:
        return ""
    others = "".join(f", {name}: ..." for name, each in value.items() if each is not None)
    return f"; to leave it out, replace the whole mapping: {{_replace_: true{others}}}"
