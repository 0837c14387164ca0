"""The parser of YAML text: a tree of plain values, in which every key and list item has its position.

Scalars follow the core schema of YAML 1.2: `1e-3` is a number; `on`, `1:30` and `2024-01-01` are strings. PyYAML alone
follows YAML 1.1, which reads these four the other way. The tree holds only plain data: a tag that would create an object is
an error. Size and depth are limited, also after the expansion of aliases, so that every file is parsed in bounded time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from ppema.config.tree.positions import Position
from ppema.config.wording import key_fault
from ppema.errors import ConfigError, Path, Problem

MAX_DEPTH = 50
MAX_NODES = 20_000
MAX_BYTES = 1_000_000  # of a file
_MAX_DIGITS = 100

Leaf = str | int | float | bool | None
Value = Leaf | list["Entry"] | dict[str, "Entry"]
Place = Callable[[yaml.Mark], Position]


@dataclass(frozen=True)
class Entry:
    """A value and its position: that of its key, or of the value itself in a list."""

    value: Value
    position: Position

    def plain(self) -> Any:
        """The data as dicts, lists and scalars, without positions."""
        match self.value:
            case dict():
                return {key: entry.plain() for key, entry in self.value.items()}
            case list():
                return [entry.plain() for entry in self.value]
            case _:
                return self.value

    def depth(self) -> int:
        """The number of mappings and lists around the innermost value."""
        match self.value:
            case dict():
                return 1 + max((entry.depth() for entry in self.value.values()), default=0)
            case list():
                return 1 + max((entry.depth() for entry in self.value), default=0)
            case _:
                return 0

    def positions(self, path: Path = ()) -> dict[Path, Position]:
        """The position of every path in this tree. path: that of this entry."""
        found = {path: self.position}
        match self.value:
            case dict():
                for key, entry in self.value.items():
                    found |= entry.positions((*path, key))
            case list():
                for index, entry in enumerate(self.value):
                    found |= entry.positions((*path, index))
        return found


def read_yaml(text: str, place: Place) -> Entry | None:
    """The tree in `text`; None if it is empty. place: converts a mark of PyYAML to a position.

    Raises ConfigError for text that is not valid YAML, and with all faults of a valid text's structure together.
    """
    try:
        node = _Loader(text).get_single_node()
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        mark = yaml.Mark("", 0, before.count("\n"), len(before) - before.rfind("\n") - 1, None, 0)
        raise _invalid(place(mark), f"the character {text[error.position]!r} is not allowed in YAML") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _invalid(place(mark or _START), _problem(error)) from None
    except (ValueError, OverflowError):  # PyYAML does not check an escape such as "\UFFFFFFFF", nor the length of a %YAML
        raise _invalid(place(_START), "not valid YAML: an escape or a version that does not exist") from None
    if node is None:
        return None
    builder = _Builder(place)
    tree = builder.build(node, place(node.start_mark), ())
    if builder.problems:
        raise ConfigError(builder.problems)
    return tree


def extent(value: Any) -> tuple[int, int]:
    """The number of keys and values in plain data, and of the characters in their text. `read_yaml` limits both."""
    match value:
        case dict():
            inner = [extent(each) for pair in value.items() for each in pair]
        case list() | tuple():
            inner = [extent(each) for each in value]
        case _:
            return 1, len(value) if isinstance(value, str) else 0
    return 1 + sum(nodes for nodes, _ in inner), sum(characters for _, characters in inner)


_START = yaml.Mark("", 0, 0, 0, None, 0)


def _invalid(position: Position, message: str) -> ConfigError:
    return ConfigError([Problem((), message, position.text)])


def _problem(error: yaml.MarkedYAMLError) -> str:
    problem = (error.problem or "").replace("'<stream end>'", "the end")
    if r"'\t'" in problem:
        return "not valid YAML: a tab where only spaces are allowed"
    return f"not valid YAML: {', '.join(part for part in (error.context, problem) if part)}"


class _Loader(yaml.SafeLoader):
    """PyYAML's loader up to the node tree, with the scalars of YAML 1.2 and limits on depth and size."""

    yaml_implicit_resolvers: dict = {}  # noqa: RUF012  (PyYAML requires this name and type)

    def __init__(self, text: str):
        super().__init__(text)
        self._depth = 0
        self._nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._nodes += 1
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=TOO_DEEP, problem_mark=self.peek_event().start_mark)
        if self._nodes > MAX_NODES:
            raise yaml.MarkedYAMLError(problem=TOO_LARGE, problem_mark=self.peek_event().start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


TOO_DEEP = f"nested more than {MAX_DEPTH} levels deep"
TOO_LARGE = f"more than {MAX_NODES} keys and values"


def _to_int(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"a number of {len(text)} digits is too long")
    return int(text, 0 if text[:2] in ("0x", "0o") else 10)


# PyYAML tries the patterns in this order, and takes the first that matches.
_SCALARS: dict[str, tuple[str, Callable[[str], Leaf], list[str]]] = {
    "null": (r"~|null|Null|NULL|", lambda text: None, ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", lambda text: text.lower() == "true", list("tTfF")),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", _to_int, list("-+0123456789")),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        lambda text: float(re.sub(r"\.(?=[inIN])", "", text)),  # Python writes inf and nan without a dot
        list("-+.0123456789"),
    ),
}
_TAG = "tag:yaml.org,2002:"
RESOLVERS = [(_TAG + name, re.compile(rf"^(?:{pattern})$"), first) for name, (pattern, _, first) in _SCALARS.items()]
for _resolver in RESOLVERS:
    _Loader.add_implicit_resolver(*_resolver)


class _Builder:
    """The conversion of PyYAML's nodes to entries. It continues after a problem, and `problems` collects all of them."""

    def __init__(self, place: Place):
        self.problems: list[Problem] = []
        self._place = place
        self._open: set[int] = set()
        self._nodes = 0
        self._characters = 0

    def build(self, node: yaml.Node, position: Position, path: Path) -> Entry:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _invalid(position, f"{TOO_LARGE}, aliases expanded")
        if id(node) in self._open:
            return self._fail(position, path, "the alias is inside the value that it repeats")
        if len(path) > MAX_DEPTH:
            return self._fail(position, path, TOO_DEEP)
        self._open.add(id(node))
        try:
            match node:
                case yaml.ScalarNode():
                    return self._scalar(node, position, path)
                case yaml.SequenceNode(tag="tag:yaml.org,2002:seq"):
                    items = [
                        self.build(item, self._place(item.start_mark), (*path, index)) for index, item in enumerate(node.value)
                    ]
                    return Entry(items, position)
                case yaml.MappingNode(tag="tag:yaml.org,2002:map"):
                    return Entry(self._mapping(node, path), position)
                case _:
                    return self._unknown_tag(node, position, path)
        finally:
            self._open.remove(id(node))

    def _scalar(self, node: yaml.ScalarNode, position: Position, path: Path) -> Entry:
        self._characters += len(node.value)
        if self._characters > MAX_BYTES:
            raise _invalid(position, f"more than {MAX_BYTES} characters, aliases expanded")
        kind = node.tag.removeprefix(_TAG)
        if kind == "str":
            if any("\ud800" <= character <= "\udfff" for character in node.value):
                return self._fail(position, path, "half a surrogate pair is not a character")
            return Entry(node.value, position)
        if kind not in _SCALARS:
            return self._unknown_tag(node, position, path)
        pattern, convert, _ = _SCALARS[kind]
        if not re.fullmatch(pattern, node.value):
            return self._fail(position, path, f"expected a value of type {kind} after !!{kind}")
        try:
            return Entry(convert(node.value), position)
        except ValueError as error:
            return self._fail(position, path, str(error))

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Entry]:
        own: dict[str, Entry] = {}
        inherited: dict[str, Entry] = {}
        for key_node, value_node in node.value:
            position = self._place(key_node.start_mark)
            if isinstance(key_node, yaml.ScalarNode) and key_node.value == "<<" and key_node.style is None:
                inherited |= self._merged(value_node, position, path)
                continue
            key = self.build(key_node, position, path).plain()
            if message := key_fault(key):
                self._fail(position, path, message)
            elif key in own:
                self._fail(position, (*path, key), f"duplicate key; it is also at {own[key].position.text}")
            else:
                own[key] = self.build(value_node, position, (*path, key))
        return {**inherited, **own}

    def _merged(self, node: yaml.Node, position: Position, path: Path) -> dict[str, Entry]:
        """The entries of the merge key `<<`: of a mapping, or of several, where earlier mappings win."""
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[str, Entry] = {}
        for source in reversed(sources):
            if not isinstance(source, yaml.MappingNode):
                self._fail(position, path, "expected a mapping or a list of mappings after '<<'")
                continue
            value = self.build(source, position, path).value
            merged |= value if isinstance(value, dict) else {}
        return merged

    def _unknown_tag(self, node: yaml.Node, position: Position, path: Path) -> Entry:
        tag = node.tag.replace(_TAG, "!!")
        return self._fail(position, path, f"the tag {tag} is refused; a config holds plain data only")

    def _fail(self, position: Position, path: Path, message: str) -> Entry:
        self.problems.append(Problem(path, message, position.text))
        return Entry(None, position)
