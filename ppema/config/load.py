"""The reader of configs: a YAML file, its bases and overrides become a Config, or one report of all problems."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import Any

from ppema.config.dump import to_yaml
from ppema.config.schema import Config
from ppema.config.tree.inheritance import Files
from ppema.config.tree.merge import REPLACE, assign, check_marks, without_marks
from ppema.config.tree.positions import Position, Positions
from ppema.config.tree.yaml_tree import MAX_BYTES, MAX_DEPTH, MAX_NODES, TOO_DEEP, Entry, extent, read_yaml
from ppema.config.wording import key_fault
from ppema.errors import ConfigError, Problem, escaped, overridden


def load_config(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Config:
    """The config in the file `path`, merged over the files under its `_base_`, with `overrides` applied.

    `_base_` is a path or a list of paths, each relative to the file that names it. Later bases win over earlier ones, and the
    file itself wins over all of them. `ppema.config.tree.merge.merge` has the rules, including `_replace_: true`.

    An override `a.b.0.c=value` replaces the value of the one key that it names. The value is YAML; an empty value is null.
    In a list, the key is an index counted from 0. Missing mappings are created. `_replace_: true` in the value is redundant.

    An `output` that is not set becomes `runs/<the file's name>`. Modules that the config names are searched on Python's path,
    in the current working directory, and in the folder of the file.

    Raises ConfigError for a plain string as `overrides`; with all unreadable files and overrides; if all are readable, with all
    faults of keys and values; and if the resolved config is larger than MAX_NODES keys and values or MAX_BYTES bytes, which its
    file config.yml can not hold.
    """
    if isinstance(overrides, str):
        raise ConfigError.of(f'overrides: expected a list of "key=value", got a str: [{overrides!r}]')
    files = Files()
    tree = files.read(os.fspath(path))
    problems = list(files.problems)
    tree = without_marks(tree) if tree else Entry({}, Position(""))
    for override in overrides:
        try:
            tree = _override(tree, override)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    plain = tree.plain()
    _check_extent(path, plain)
    if plain.get("output") is None:
        plain["output"] = f"runs/{FilePath(path).stem}"
    positions = Positions(tree.positions(), _folders(path), os.fspath(path), tuple(overrides))
    try:
        config = Config.model_validate(plain).at_positions(positions)
    except ConfigError as error:
        raise positions.locate(error) from None
    _check_extent(path, config.model_dump())
    if len(to_yaml(config).encode()) > MAX_BYTES:
        raise _too_large(path, f"{MAX_BYTES} bytes")
    return config


def _check_extent(path: str | os.PathLike[str], plain: Any) -> None:
    """Raise ConfigError if a file could not hold `plain`: the resolved config is written to a file and read from it."""
    nodes, characters = extent(plain)
    if nodes > MAX_NODES:
        raise _too_large(path, f"{MAX_NODES} keys and values")
    if characters > MAX_BYTES:
        raise _too_large(path, f"{MAX_BYTES} characters")


def _too_large(path: str | os.PathLike[str], what: str) -> ConfigError:
    message = f"the config has more than {what}, with its bases, options, aliases and defaults"
    return ConfigError([Problem((), message, os.fspath(path))])


def in_working_directory(config: Config) -> Config:
    """`config`, which is from no file, so that modules that it names are searched in the working directory, too."""
    return config.at_positions(Positions(folders=_working_directory()))


def _folders(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """The working directory and the folder of the config `path`."""
    beside = os.path.realpath(os.path.dirname(os.path.abspath(path)))
    return tuple(dict.fromkeys((*_working_directory(), beside)))


def _working_directory() -> tuple[str, ...]:
    """The working directory; () if it was deleted."""
    try:
        return (os.path.realpath(os.getcwd()),)
    except FileNotFoundError:
        return ()


def _override(tree: Entry, override: str) -> Entry:
    """`tree` with an override `a.b=value` applied. The position of the new value names `a.b`. Raises ConfigError."""
    dotted, equals, text = override.partition("=")
    keys = dotted.strip().split(".")
    position = Position(overridden(escaped(dotted.strip())))
    try:
        if not equals or any(map(key_fault, keys)):
            raise ConfigError.of(f"expected key=value with a key such as train.epochs, got {override!r}")
        if REPLACE in keys:
            raise ConfigError.of(
                f"{REPLACE} is no key of its own: write it in a mapping, as in averages={{{REPLACE}: true, ...}}"
            )
        value = read_yaml(text, lambda mark: position) or Entry(None, position)
        check_marks(value)
        if len(keys) + value.depth() > MAX_DEPTH:
            raise ConfigError.of(TOO_DEEP)
        return assign(tree, keys, without_marks(value))
    except ConfigError as error:
        raise ConfigError(Problem((), problem.message, position.text) for problem in error.problems) from None
