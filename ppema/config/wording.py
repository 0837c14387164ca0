"""Our words for what is wrong with a value: "expected ..., got ...", in place of pydantic's."""

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
    """What a validator of ours raises to say `message`."""
    return PydanticCustomError("fault", "{message}", {"message": message})


def faults(messages: Iterable[tuple[Path, str]]) -> ValidationError:
    """What a validator of ours raises to say several things, each about a path inside the value."""
    lines = [InitErrorDetails(type=fault(message), loc=path, input=None) for path, message in messages]
    return ValidationError.from_exception_data("config", lines)


def expecting(what: str) -> WrapValidator:
    """Annotates a type: whatever pydantic finds wrong with a value, the message is "expected `what`, got ..."."""

    def validate(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise fault(f"expected {what}, got {shown(value)}") from None

    return WrapValidator(validate)


def counting(what: str, least: int, most: int) -> WrapValidator:
    """Annotates a whole number from `least` to `most`, which `what` names: "expected an integer >= 1, got 0"."""

    def validate(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            bound = f"up to {number(most)}" if type(value) is int and value > most else f">= {least}"
            raise fault(f"expected {what} {bound}, got {shown(value)}") from None

    return WrapValidator(validate)


def in_our_words(error: ValidationError, section: type[BaseModel]) -> list[tuple[Path, str]]:
    """The path and message of everything that is wrong with a `section`; its keys are the ones to suggest."""
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
    """The message for a number that float32 would make 0 or infinite, None for any other."""
    smallest, largest = FLOAT32
    if value == 0 or smallest <= abs(value) <= largest:
        return None
    return f"expected a number in [{smallest:.2g}, {largest:.2g}], as float32 has them, got {shown(value)}"


def unknown_key(key: str, section: type[BaseModel]) -> str:
    """The message for a key that `section` does not have."""
    known = section.model_fields
    return f"unknown key{did_you_mean(key, known) or '; known keys: ' + ', '.join(known)}"


def key_fault(key: object) -> str | None:
    """Why `key` can not be a key of a config, if it can not: messages and options spell it in one line of text."""
    if isinstance(key, str) and key.isprintable() and key:
        return None
    hint = "; put it in quotes" if isinstance(key, (bool, int, float)) else ""
    return f"expected a name as key, got {shown(key)}{hint}"
