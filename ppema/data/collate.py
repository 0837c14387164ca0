"""The key `data.collate`: padding, or a callable of the user that makes a batch of a list of samples."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any

from ppema.data.layout import Padding
from ppema.errors import ConfigError, PpemaError
from ppema.user_code.blame import blamed
from ppema.user_code.modules import folders_looked_in, looking_in
from ppema.user_code.names import check_arguments, resolve
from ppema.values import shown


def pad(values: Mapping[str, float] | None = None, multiple_of: int = 1) -> Padding:
    """The Padding with these arguments of a config. Raises ConfigError at an argument that is invalid."""
    values = {} if values is None else values
    if not isinstance(values, Mapping):
        raise ConfigError.of(f"expected a number for each name of a field, got {shown(values)}", "args", "values")
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ConfigError.of(f"expected a number, got {shown(value)}", "args", "values", name)
    if type(multiple_of) is not int or multiple_of < 1:
        raise ConfigError.of(f"expected an integer >= 1, got {shown(multiple_of)}", "args", "multiple_of")
    return Padding(values, multiple_of)


# Built-in values of data.collate by name.
COLLATES = {"pad": pad}


class NamedCollate:
    """A callable of the user by its dotted path: a function that takes a list of samples and `args`, or a class made of `args`.

    A pickle of it holds the name, so that a worker process imports the module as this process does. folders: where the user's
    modules may be. Raises ConfigError.
    """

    def __init__(self, name: str, args: Mapping[str, Any], folders: tuple[str, ...]):
        self._given = name, args, folders
        with looking_in(folders):
            target = resolve(name, COLLATES, "collate")
            check_arguments(target, args, positional=0 if inspect.isclass(target) else 1, what=name)
            self._collate = _made(target, name, args) if inspect.isclass(target) else functools.partial(target, **args)

    def __call__(self, samples: list[Any]) -> Any:
        return self._collate(samples)

    def __reduce__(self) -> tuple[type[NamedCollate], tuple[Any, ...]]:
        return NamedCollate, self._given


def build_collate(spec: Any) -> Padding | NamedCollate:
    """What the config section `spec`, with name and args, describes. Raises ConfigError, with paths relative to the section."""
    if spec.name not in COLLATES:
        return NamedCollate(spec.name, spec.args, folders_looked_in())
    check_arguments(COLLATES[spec.name], spec.args, what=spec.name)
    return COLLATES[spec.name](**spec.args)


def _made(target: Any, name: str, args: Mapping[str, Any]) -> Any:
    try:
        made = target(**args)
    except PpemaError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError.of(blamed(error), "args") from error
    if not callable(made):
        raise ConfigError.of(f"{name} makes objects that can not be called with a list of samples", "name")
    return made
