"""Converts names in a config to Python objects, and checks the arguments of a call before the call.

A name is looked up in a table first; a name with a dot is imported. Problems are reported at ("name",) and ("args", key), so
that `Config.at` can add their file and line.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ppema.errors import ConfigError, Problem
from ppema.user_code.blame import blamed
from ppema.user_code.modules import folders_looked_in, hidden_by, import_module, place_of


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the known word closest to `word`; "" if none is close."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[close[0]]!r}?" if close else ""


def resolve(name: str, table: Mapping[str, Any], what: str) -> Any:
    """The entry `name` of `table`, or else the callable at the dotted path `name`.

    what: the kind of thing in messages, such as "model" or "loss". Raises ConfigError at ("name",) for an unknown name, a
    missing module or attribute, a failed import, and an object that is not callable.
    """
    if name in table:
        return table[name]
    if "." not in name:
        hint = did_you_mean(name, table) or f"; known: {', '.join([*table, 'any dotted path'])}"
        raise ConfigError.of(f"unknown {what} {name!r}{hint}", "name")
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts):
        raise ConfigError.of(f"{name!r} is not a dotted path such as 'package.module.name'", "name")
    target = _module(parts[0])
    if target is None:
        places = ["on Python's path (installed packages and PYTHONPATH)", *folders_looked_in()]
        raise ConfigError.of(f"there is no module {parts[0]!r}: looked {', in '.join(places)}", "name")
    for depth, attribute in enumerate(parts[1:], start=1):
        target = _attribute(target, ".".join(parts[:depth]), attribute)
    if not callable(target):
        raise ConfigError.of(f"{what} {name!r} is a {type(target).__name__} and can not be called", "name")
    return target


def _attribute(owner: Any, owner_name: str, attribute: str) -> Any:
    """`owner.attribute`; a submodule is imported if necessary."""
    try:
        return getattr(owner, attribute)
    except AttributeError:
        is_package = inspect.ismodule(owner) and hasattr(owner, "__path__")
        submodule = _module(f"{owner.__name__}.{attribute}") if is_package else None
        if submodule is not None:
            return submodule
        public = [name for name in dir(owner) if not name.startswith("_")]
        message = f"{owner_name!r}{_place(owner)} has no {attribute!r}{did_you_mean(attribute, public)}"
        if hidden := hidden_by(owner):
            message += f"; it hides {hidden}, which needs another name"
        raise ConfigError.of(message, "name") from None
    except Exception as error:  # a module's __getattr__ may import lazily and fail
        raise ConfigError.of(f"{owner_name}.{attribute} failed: {blamed(error)}", "name") from error


def _place(owner: Any) -> str:
    place = place_of(getattr(owner, "__spec__", None)) if inspect.ismodule(owner) else None
    return f" ({place})" if place else ""


def _module(name: str) -> Any | None:
    """The module `name`, or None if there is none. Raises ConfigError if its import fails."""
    try:
        return import_module(name)
    except (Exception, SystemExit) as error:  # a module may do anything while it is imported
        # If another module is missing, this one exists and its own import failed.
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            return None
        raise ConfigError.of(f"importing {name!r} failed: {blamed(error)}", "name") from error


def check_arguments(
    target: Callable[..., Any],
    args: Mapping[str, Any],
    *,
    positional: int = 0,
    given: Iterable[str] = (),
    what: str,
) -> None:
    """Raises ConfigError with every reason why `target(*positional values, **given values, **args)` can not be called.

    positional: the number of leading arguments that ppema passes; given: the keywords that ppema passes. The user may set
    neither. what: the name of the callable in messages. A callable with **kwargs or without a signature accepts any argument.
    """
    signature = _signature(target)
    if signature is None:
        return
    parameters = list(signature.parameters.values())
    in_order = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    takes_more = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    by_keyword = {p.name: p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    given = list(given)
    ours = {*given, *(p.name for p in in_order[:positional])}
    # The name of a positional-only parameter may still be a key of **kwargs.
    taken = {*given, *(p.name for p in in_order[:positional] if p.name in by_keyword)}
    free = [name for name in by_keyword if name not in ours]

    problems = []
    if positional > len(in_order) and not takes_more:
        message = f"{what} takes {len(in_order)} positional arguments, but it is called with {positional}"
        problems.append(Problem(("name",), message))
    if not takes_any:
        unwanted = [name for name in given if name not in by_keyword]
        problems += [Problem(("name",), f"{what} must take the argument {name!r}, but does not") for name in unwanted]
    for key in args:
        if key in taken:
            problems.append(Problem(("args", key), f"this argument of {what} is set by ppema; remove it"))
        elif key not in by_keyword and not takes_any:
            hint = did_you_mean(key, free) or f"; known: {', '.join(free) or 'none'}"
            problems.append(Problem(("args", key), f"unknown argument of {what}{hint}"))
    for parameter in parameters:
        required = parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        )
        if required and parameter.name not in ours and parameter.name not in args:
            message = f"required argument of {what} is missing"
            problems.append(Problem(("args", parameter.name), message))
    if problems:
        raise ConfigError(problems)


def _signature(target: Callable[..., Any]) -> inspect.Signature | None:
    """The signature of a call to `target`; None if Python can not determine it."""
    try:
        if not inspect.isclass(target) or target.__init__ is object.__init__:
            return inspect.signature(target)
        # signature(target) would show a catch-all __new__ or metaclass of a base class instead of __init__.
        signature = inspect.signature(target.__init__)
    except (TypeError, ValueError):
        return None
    parameters = list(signature.parameters.values())
    if parameters and parameters[0].kind is not inspect.Parameter.VAR_POSITIONAL:
        parameters = parameters[1:]  # self
    return signature.replace(parameters=parameters)
