"""Errors for users, as values of JSON, so that all ranks can raise the error of one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from ppema.data import GivenUp
from ppema.errors import CheckpointError, ConfigError, Naming, PpemaError, Problem, TrainingError

Sendable = PpemaError | GivenUp
SENDABLE = (PpemaError, GivenUp)

_TAKE_A_MESSAGE = (PpemaError.__init__, CheckpointError.__init__)
_PLAIN = (str, int, float, type(None))


def as_facts(error: Sendable) -> dict[str, Any]:
    """`error` as values of JSON. A remedy and a cause are left out."""
    if isinstance(error, GivenUp):
        return {"kind": GivenUp.__name__}
    if isinstance(error, ConfigError):
        problems = [[list(each.path), _text(each.message), _text(each.where)] for each in error.problems]
        return {"kind": ConfigError.__name__, "problems": problems}
    kind = next(each for each in type(error).__mro__ if each.__init__ in _TAKE_A_MESSAGE)
    message = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
    return {"kind": kind.__name__, "message": _text(message), "exit_code": error.exit_code}


def as_error(facts: dict[str, Any]) -> Sendable:
    """The error of which `as_facts` made `facts`, of the same class."""
    if facts["kind"] == GivenUp.__name__:
        return GivenUp()
    if facts["kind"] == ConfigError.__name__:
        return ConfigError(Problem(tuple(path), _worded(message), _worded(where)) for path, message, where in facts["problems"])
    general = TrainingError if facts["exit_code"] == TrainingError.exit_code else PpemaError
    return {each.__name__: each for each in _classes(PpemaError)}.get(facts["kind"], general)(_worded(facts["message"]))


def error_of(facts: dict[str, Any], own: Sendable | None) -> Sendable:
    """The error of which a rank sent `facts`. own: on that rank the error itself, with its remedy and cause; else None."""
    return as_error(facts) if own is None else own


def _classes(base: type[PpemaError]) -> Iterator[type[PpemaError]]:
    """`base` and its loaded subclasses that take a message."""
    if base.__init__ in _TAKE_A_MESSAGE:
        yield base
    for each in base.__subclasses__():
        yield from _classes(each)


def _text(message: str) -> Any:
    """The text and values of a `Naming`, which names arguments by their flags on a command line."""
    if not isinstance(message, Naming):
        return message
    values = [str(each) if isinstance(each, PurePath) else each for each in message.values]
    return [message.text, values] if all(isinstance(each, _PLAIN) for each in values) else str(message)


def _worded(text: Any) -> str:
    return text if isinstance(text, str) else Naming(text[0], *text[1])
