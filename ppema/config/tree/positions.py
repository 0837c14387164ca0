"""The position of each key of a config, from which a problem gets its `file:line:column`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ppema.errors import ConfigError, Path, Problem


@dataclass(frozen=True)
class Position:
    """A place in a file, or an override. line, column: counted from 1; 0 for an override, which has only a source."""

    source: str
    line: int = 0
    column: int = 0

    @property
    def text(self) -> str:
        """The position for messages: "file:line:column", or the source."""
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


@dataclass(frozen=True)
class Positions:
    """The position of every key and list item of a config. The path () is that of the whole file.

    Two instances are always equal. Positions are no part of a config's content, so a config equals itself read back from
    another file.

    folders: searched, after Python's path, for modules that the config names. file, overrides: the arguments of `load_config`;
    None for a config that code made. replaced: paths whose values code changed since.
    """

    of: Mapping[Path, Position] = field(default_factory=dict, compare=False, repr=False)
    folders: tuple[str, ...] = field(default=(), compare=False, repr=False)
    file: str | None = field(default=None, compare=False, repr=False)
    overrides: tuple[str, ...] = field(default=(), compare=False, repr=False)
    replaced: frozenset[Path] = field(default=frozenset(), compare=False, repr=False)

    def find(self, path: Path) -> Position | None:
        """The position of `path`, or of its deepest ancestor with a position (for a missing key); None without one."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.of:
                return self.of[path[:length]]
        return None

    def locate(self, error: ConfigError, prefix: Path = ()) -> ConfigError:
        """`error` with `prefix` before its paths, with positions, and sorted by position. Overrides follow files."""
        return ConfigError(sorted((self._place(problem, prefix) for problem in error.problems), key=self._order))

    def _place(self, problem: Problem, prefix: Path) -> Problem:
        if problem.where:  # An inner section has located it already.
            return problem
        path = prefix + problem.path
        position = self.find(path)
        return Problem(path, problem.message, position.text if position else "")

    def _order(self, problem: Problem) -> tuple[bool, str, int, int]:
        position = self.find(problem.path) or Position("")
        return (position.line == 0, position.source, position.line, position.column)  # overrides after files


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The paths and values of everything but mappings with keys, and lists of such mappings."""
    if isinstance(value, Mapping) and value:
        for key, each in value.items():
            yield from leaves(each, (*path, key))
    elif isinstance(value, (list, tuple)) and any(isinstance(each, Mapping) for each in value):
        for index, each in enumerate(value):
            yield from leaves(each, (*path, index))
    else:
        yield path, value
