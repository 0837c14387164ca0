"""Where each key of a config was written, and how a problem gets its `file:line:column` from that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ppema.errors import ConfigError, Path, Problem


@dataclass(frozen=True)
class Position:
    """A place in a file, counted from 1, or an override, which has a source only."""

    source: str
    line: int = 0
    column: int = 0

    @property
    def text(self) -> str:
        """As messages have it: "file:line:column", or the source."""
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


@dataclass(frozen=True)
class Positions:
    """The position of every key and list item of a config; the path () stands for the whole file.

    Two of these are always equal: where a config was written is no part of what it says, so a config equals itself
    read back from another file.

    folders: where modules that the config names are looked for, after Python's path.
    """

    of: Mapping[Path, Position] = field(default_factory=dict, compare=False, repr=False)
    folders: tuple[str, ...] = field(default=(), compare=False, repr=False)

    def find(self, path: Path) -> Position | None:
        """The position of `path`, or of its deepest ancestor that was written down (a missing key has only that)."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.of:
                return self.of[path[:length]]
        return None

    def locate(self, error: ConfigError, prefix: Path = ()) -> ConfigError:
        """`error` with `prefix` in front of its paths and their positions filled in, in the order of the files."""
        return ConfigError(sorted((self._place(problem, prefix) for problem in error.problems), key=self._order))

    def _place(self, problem: Problem, prefix: Path) -> Problem:
        if problem.where:  # an inner section has placed it already
            return problem
        path = prefix + problem.path
        position = self.find(path)
        return Problem(path, problem.message, position.text if position else "")

    def _order(self, problem: Problem) -> tuple[bool, str, int, int]:
        position = self.find(problem.path) or Position("")
        return (position.line == 0, position.source, position.line, position.column)  # options after files
