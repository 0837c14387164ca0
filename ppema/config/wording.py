"""Messages for invalid values, "expected ..., got ...", which replace those of pydantic."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from ppema.averaging.precision import FLOAT32
from ppema.errors import Path
from ppema.user_code.names import did_you_mean
from ppema.values import number, shown

_EXPECTED = {"model_type": "a mapping", "dict_type": "a mapping", "tuple_type": "a list"}


def fault(message: str) -> PydanticCustomError:
    """The error with `message` that a validator of ours raises."""
    return PydanticCustomError("fault", "{message}", {"message": message})


def faults(messages: Iterable[tuple[Path, str]]) -> ValidationError:
    """The error of several messages that a validator of ours raises. Each path is relative to the value."""
    lines = [InitErrorDetails(type=fault(message), loc=path, input=None) for path, message in messages]
    return ValidationError.from_exception_data("config", lines)


def expecting(what: str) -> WrapValidator:
    """An annotation of a type. Every fault of a value has the message "expected `what`, got ..."."""

    def validate(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise fault(f"expected {what}, got {shown(value)}") from None

    return WrapValidator(validate)


def counting(what: str, least: int, most: int) -> WrapValidator:
    """An annotation of an integer from `least` to `most`. Messages call it `what`: "expected an integer >= 1, got 0"."""

    def validate(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            bound = f"up to {number(most)}" if type(value) is int and value > most else f">= {least}"
            raise fault(f"expected {what} {bound}, got {shown(value)}") from None

    return WrapValidator(validate)


def in_our_words(error: ValidationError, section: type[BaseModel]) -> list[tuple[Path, str]]:
    """The path and message of every fault in `error`. Messages on unknown keys suggest keys of `section`."""
    return [(line["loc"], _message(line, section)) for line in error.errors(include_url=False)]


def _message(line: ErrorDetails, section: type[BaseModel]) -> str:
    kind, value = line["type"], line["input"]
    if kind == "missing":
        return "required key is missing"
    if kind == "extra_forbidden":
        return unknown_key(str(line["loc"][-1]), section)
    if kind == "literal_error":
        return f"expected {line.get('ctx', {})['expected']}, got {shown(value)}"
    if kind == "too_short":
        return "expected at least one item, got []"
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}, got {shown(value)}"
    return line["msg"]


def not_in_float32(value: float) -> str | None:
    """The message for a number that is 0 or infinite in float32 only; None for any other number."""
    smallest, largest = FLOAT32
    if value == 0 or smallest <= abs(value) <= largest:
        return None
    return f"expected a number in [{smallest:.2g}, {largest:.2g}], as float32 has them, got {shown(value)}"


def unknown_key(key: str, section: type[BaseModel]) -> str:
    """The message for a key that `section` lacks."""
    known = [field.alias or name for name, field in section.model_fields.items()]
    return f"unknown key{did_you_mean(key, known) or '; known keys: ' + ', '.join(known)}"


def key_fault(key: object) -> str | None:
    """The message for a `key` that no config can have; None for a valid one.

    A key is printable text that is not empty, because messages and options write it in one line.
    """
    if isinstance(key, str) and key.isprintable() and key:
        return None
    hint = "; put it in quotes" if isinstance(key, (bool, int, float)) else ""
    return f"expected a name as key, got {shown(key)}{hint}"
