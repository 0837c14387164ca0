"""The merge of a config with its base, and the assignment of one key by an override `a.b=c`."""

from __future__ import annotations

from typing import Any

from ppema.config.sections.measure import LossPart, Measure, MetricSpec
from ppema.config.sections.named import LearningRate, Named
from ppema.config.tree.positions import Position
from ppema.config.tree.yaml_tree import Entry
from ppema.errors import ConfigError, Path, Problem
from ppema.values import shown

REPLACE = "_replace_"
_NAMED: dict[Path, type[Named]] = {("model",): Named, ("loss",): Measure, ("optimizer",): Named, ("lr",): LearningRate}
_HAVE_NAME = {*_NAMED, ("data", "train"), ("data", "eval")}
_LISTED: dict[str, type[Named]] = {
    "metrics": MetricSpec,
    "losses": LossPart,
}  # sections of names and arguments in a list or mapping


def merge(base: Entry | None, over: Entry, path: Path = ()) -> Entry:
    """`over` merged over `base`: mappings are merged key by key; lists and scalars replace those of the base.

    A mapping replaces the base's mapping if it holds `_replace_: true`. It also does if it names another model, loss,
    optimizer, schedule or data set, because arguments for Momentum are not meant for AdamW. Under a mapping, a shorthand
    such as `loss: cross_entropy` is merged as the mapping that it abbreviates.

    Raises ConfigError for a `_replace_` that is not a boolean.
    """
    if not isinstance(over.value, dict):
        return over
    replaces = _replaces(over, path)
    below = _spelt_out(base, path).value if base and not replaces else {}
    if not isinstance(below, dict) or (_has_name(path) and _names_another(below, over.value)):
        below = {}
    merged = dict(below)
    for key, entry in over.value.items():
        if key != REPLACE or replaces:  # kept, because the result may be merged over another base
            merged[key] = merge(below.get(key), entry, (*path, key))
    return Entry(merged, over.position)


def without_marks(tree: Entry) -> Entry:
    """A fully merged `tree`, without its keys `_replace_`."""
    if not isinstance(tree.value, dict):
        return tree
    entries = {key: without_marks(entry) for key, entry in tree.value.items() if key != REPLACE}
    return Entry(entries, tree.position)


def check_marks(value: Entry) -> None:
    """Raise ConfigError unless each `_replace_` in `value`, that of an override, is true: an override always replaces."""
    if not isinstance(value.value, dict):
        return
    for key, entry in value.value.items():
        if key == REPLACE and entry.value is not True:
            raise ConfigError.of(
                f"{REPLACE}: expected true, got {shown(entry.plain())}: an override replaces its whole mapping; to keep the "
                "others, override single keys, as in averages.ema.decay=0.9"
            )
        check_marks(entry)


def _replaces(over: Entry, path: Path) -> bool:
    flag = over.value.get(REPLACE) if isinstance(over.value, dict) else None
    if flag and not isinstance(flag.value, bool):
        message = f"expected true or false, got {shown(flag.plain())}"
        raise ConfigError([Problem((*path, REPLACE), message, flag.position.text)])
    return bool(flag and flag.value)


def _section(path: Path) -> type[Named] | None:
    """The section of names and arguments at `path`, if it admits shorthands."""
    return _LISTED.get(str(path[0])) if len(path) == 2 else _NAMED.get(path)


def _has_name(path: Path) -> bool:
    return path in _HAVE_NAME or _section(path) is not None


def _names_another(base: dict[str, Entry], over: dict[str, Entry]) -> bool:
    return "name" in base and "name" in over and base["name"].value != over["name"].value


def _spelt_out(entry: Entry, path: Path) -> Entry:
    """`entry`, with a shorthand replaced by its mapping if `path` admits shorthands."""
    section = _section(path)
    if section is None or isinstance(entry.value, (dict, list)):
        return entry
    return _entry(section.spelt_out(entry.value), entry.position)


def _entry(value: Any, position: Position) -> Entry:
    if isinstance(value, dict):
        return Entry({key: _entry(item, position) for key, item in value.items()}, position)
    return Entry(value, position)


def assign(tree: Entry, keys: list[str], value: Entry, path: Path = ()) -> Entry:
    """`tree`, at `path`, with `value` at `keys` below it. Missing mappings are created.

    Raises ConfigError for a key that is no index into a list, and for a key below a scalar.
    """
    if not keys:
        return value
    key, rest = keys[0], keys[1:]
    tree = _spelt_out(tree, path)
    match tree.value:
        case dict() | None:
            entries = tree.value or {}
            below = entries.get(key, Entry(None, value.position))
            return Entry({**entries, key: assign(below, rest, value, (*path, key))}, tree.position)
        case list():
            index = int(key) if key.isascii() and key.isdigit() and len(key) < 9 else len(tree.value)
            if index >= len(tree.value):
                items = f"{_dotted(path)}, a list of {len(tree.value)}"
                raise ConfigError.of(f"expected an index into {items} counted from 0, got {key!r}")
            item = assign(tree.value[index], rest, value, (*path, index))
            return Entry([*tree.value[:index], item, *tree.value[index + 1 :]], tree.position)
        case _:
            raise ConfigError.of(f"{_dotted(path)} is {shown(tree.value)}, which holds no keys")


def _dotted(path: Path) -> str:
    return ".".join(map(str, path))
