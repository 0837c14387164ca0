"""The errors that users see: one class per kind of input, printed as one line per problem.

The command lines print these errors without a traceback and exit with `exit_code`. Any other exception is a defect of ppema
and keeps its traceback.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

Path = tuple[str | int, ...]


class Naming(str):
    """A message that names arguments of a call. The command lines replace these names by their flags."""

    def __new__(cls, text: str, *values: object) -> Naming:
        """text: the message, with a field {name} for each argument's name, and {} for each of `values`."""
        made = super().__new__(cls, _filled(text, values, str))
        made.text, made.values = text, values
        return made

    text: str
    values: tuple[object, ...]

    def __reduce__(self) -> tuple[type[Naming], tuple[object, ...]]:
        """The class and its arguments, so that a message from another process keeps them."""
        return type(self), (self.text, *self.values)

    def worded(self, name_of: Callable[[str], str]) -> str:
        """The message with `name_of(name)` for each argument."""
        return _filled(self.text, self.values, name_of)


def _filled(text: str, values: Sequence[object], name_of: Callable[[str], str]) -> str:
    names = {name for _, name, _, _ in string.Formatter().parse(text) if name}
    return text.format(*values, **{name: name_of(name) for name in names})


class PpemaError(Exception):
    """Base of every error that ppema raises on purpose. `str(error)` is one line per problem.

    Its first argument is the message, which is a `Naming` if it names arguments of a call.
    """

    exit_code = 2

    def worded(self, name_of: Callable[[str], str]) -> str:
        """`str(self)` with `name_of(name)` for the name of each argument of a call."""
        message = self.args[0] if self.args else ""
        return message.worded(name_of) if isinstance(message, Naming) else str(self)


@dataclass(frozen=True)
class Problem:
    """One fault of a config.

    path: the key; message: the fault; where: the place of the key, once known: in a file, or `overridden(key)`.
    """

    path: Path
    message: str
    where: str = ""

    def __str__(self) -> str:
        return self.worded(str)

    def worded(self, name_of: Callable[[str], str]) -> str:
        """The problem in one line, with `name_of("override")` for an override."""
        key = ".".join(str(part) for part in self.path)
        if self.where == overridden(key):  # it already names the key
            key = ""
        where = self.where.worded(name_of) if isinstance(self.where, Naming) else self.where
        return ": ".join(part for part in (where, key, self.message) if part)


def overridden(key: str) -> Naming:
    """The place, for `Problem.where`, of a key that an override set."""
    return Naming("{override} {}", key)


class ConfigError(PpemaError):
    """The config is wrong. Has all problems found, not only the first.

    Code for one section raises it with paths relative to that section. `Config.at` then prepends the section's path, and adds
    the file and line of each key.
    """

    def __init__(self, problems: Iterable[Problem]):
        self.problems = tuple(problems)
        super().__init__(self.worded(str))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[tuple[Problem, ...]]]:
        """The class and its argument, so that an error from another process keeps its problems."""
        return type(self), (self.problems,)

    def worded(self, name_of: Callable[[str], str]) -> str:
        """One line per problem."""
        return "\n".join(problem.worded(name_of) for problem in self.problems)

    @classmethod
    def of(cls, message: str, *path: str | int) -> ConfigError:
        """The error with the single problem `message` at `path`."""
        return cls([Problem(path, message)])


class DataError(PpemaError):
    """A data set is missing or empty, or has an unusable sample. Names the file or the sample's index."""


class DeadWorkerError(DataError):
    """A process that reads data died, for example for lack of memory. The data may be good. Exit code 1."""

    exit_code = 1


@dataclass(frozen=True)
class Remedy:
    """A call of `train` that succeeds instead of the refused one.

    purpose: the purpose of the call, as "to …"; resume, extend: its arguments, None for those of the refused call; overrides:
    keys of the config to change, as "key=value".
    """

    purpose: str
    resume: str | None = None
    extend: bool | None = None
    overrides: tuple[str, ...] = ()


class CheckpointError(PpemaError):
    """A checkpoint is missing, damaged, or of another model. Names the file or the variable.

    remedy: for a refused run, the call that continues instead.
    """

    def __init__(self, message: str, remedy: Remedy | None = None):
        super().__init__(message)
        self.remedy = remedy


class AverageError(PpemaError):
    """An average was used in a way that would lose weights: applied twice, restored before it was applied, ..."""


class NotFiniteError(AverageError):
    """Values to be averaged are NaN or infinite."""


class SetupError(PpemaError):
    """This machine or its installation lacks something: no paddle, two paddles, no such device."""


class TrainingError(PpemaError):
    """The run failed with valid input: too many non-finite gradients, a full disk. Exit code 1."""

    exit_code = 1


class PeerError(TrainingError):
    """Another process of the job failed, and this one can not go on without it. Its line is on stderr already.

    exit_code: that of the other process, if it failed with an error of its own, else 1. written: the line.
    """

    def __init__(self, message: str, exit_code: int = 1):
        super().__init__(message)
        self.exit_code = exit_code
        self.written = message

    def __reduce__(self) -> tuple[type[PeerError], tuple[object, int]]:
        """The class and its arguments, so that an error from another process keeps its code."""
        return type(self), (self.args[0], self.exit_code)


class DivergedError(TrainingError):
    """The training diverged: weights, losses or gradients are not finite."""


def escaped(text: str) -> str:
    """`text` for a terminal, on one line. Control characters and invisible ones become Python's escapes."""
    return "".join(
        each if each.isprintable() or unicodedata.category(each) == "Zs" else each.encode("unicode_escape").decode()
        for each in text
    )


def printable(text: str) -> str:
    """`text` from a file of unknown content, for a message: on one line, cut after 80 characters, unprintable ones as "?"."""
    kept = "".join(each if each.isprintable() else "?" for each in text[:81])
    return kept if len(text) <= 80 else f"{kept[:80]}..."


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first `most` of `names` and the number of others, for a message: "a, b, c and 2 more"."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def one_line(error: BaseException) -> str:
    """`ValueError: text`, on one line. A PpemaError is shown without its type, Paddle's report by its summary."""
    text = str(error)
    report = re.search(r"^\s*(\w+Error: .+)$", text, re.MULTILINE)
    if report and ("In user code:" in text or "Error Message Summary:" in text):
        return report[1]
    text = " ".join(text.split())
    if isinstance(error, PpemaError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
