"""The inheritance of files: a YAML file and the files under its `_base_` become one tree."""

from __future__ import annotations

import os
import stat

from ppema.config.tree.merge import merge
from ppema.config.tree.positions import Position
from ppema.config.tree.yaml_tree import MAX_BYTES, Entry, read_yaml
from ppema.errors import ConfigError, Problem
from ppema.values import shown

BASE = "_base_"
_MAX_LEVELS = 20
_MAX_BASES = 100  # of one file


class Files:
    """The files of one config, each read once. Reading continues after a problem, and `problems` collects all of them."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._trees: dict[str, Entry | None] = {}

    def read(self, file: str, chain: tuple[str, ...] = (), named_at: Position | None = None) -> Entry | None:
        """The tree of `file` merged over its bases; None after a problem.

        chain: the files from the config down to the one that names `file`; named_at: the position of that name.
        """
        identity = os.path.realpath(file)
        if identity in [os.path.realpath(above) for above in chain]:
            circle = " -> ".join([*chain, file])
            return self._fail(f"the files inherit in a circle: {circle}", named_at, BASE)
        if len(chain) > _MAX_LEVELS:
            return self._fail(f"more than {_MAX_LEVELS} levels of {BASE}", named_at, BASE)
        # In a lattice of files, the number of paths to one file doubles at each level. Reading once keeps that linear.
        if identity not in self._trees:
            self._trees[identity] = self._read(file, (*chain, file), named_at)
        return self._trees[identity]

    def _read(self, file: str, chain: tuple[str, ...], named_at: Position | None) -> Entry | None:
        try:
            own = read_yaml(_text(file), lambda mark: Position(file, mark.line + 1, mark.column + 1))
        except _UnreadableError as error:
            if named_at:
                return self._fail(f"{file}: {error}", named_at, BASE)
            return self._fail(str(error), Position(file))
        except ConfigError as error:
            return self._collect(error)
        if own is None:
            return self._fail("the file is empty", Position(file, 1, 1))
        if not isinstance(own.value, dict):
            return self._fail(f"expected a mapping, got {shown(own.plain())}", own.position)

        bases = own.value.get(BASE)
        tree = None
        named = self._bases(bases) if bases else []
        if bases and len(named) > _MAX_BASES:
            return self._fail(f"{len(named)} files, and a config may name {_MAX_BASES}", bases.position, BASE)
        for base in named:
            inherited = self.read(_beside(file, str(base.value)), chain, base.position)
            tree = merge(tree, inherited) if inherited else tree
        own = Entry({key: entry for key, entry in own.value.items() if key != BASE}, own.position)
        try:
            return merge(tree, own)
        except ConfigError as error:
            return self._collect(error)

    def _bases(self, entry: Entry) -> list[Entry]:
        """The items of `_base_` that are valid paths."""
        items = entry.value if isinstance(entry.value, list) else [entry]
        usable: dict[str, Entry] = {}
        for item in items:
            if not isinstance(item.value, str) or not item.value or not item.value.isprintable():
                self._fail(f"expected a path or a list of paths, got {shown(item.plain())}", item.position, BASE)
            elif item.value in usable:
                self._fail(f"{item.value!r} is listed twice", item.position, BASE)
            else:
                usable[item.value] = item
        return list(usable.values())

    def _fail(self, message: str, position: Position | None, *path: str) -> None:
        self.problems.append(Problem(path, message, position.text if position else ""))

    def _collect(self, error: ConfigError) -> None:
        self.problems += error.problems


def _beside(file: str, base: str) -> str:
    """The shortest path of `base`, which is relative to `file`."""
    path = os.path.join(os.path.dirname(file), base)
    short = os.path.normpath(path)
    # If `folder` is a link, `folder/..` is not the folder that holds it.
    return short if os.path.realpath(short) == os.path.realpath(path) else path


class _UnreadableError(Exception):
    """A file that can not be read. The file has no position for the message, so the message shows the position of its name."""


def _text(file: str) -> str:
    try:
        mode = os.stat(file).st_mode  # checked before opening: opening a pipe would wait for its writer
        if stat.S_ISDIR(mode):
            raise _UnreadableError("expected a YAML file, but this is a directory")
        if not stat.S_ISREG(mode):
            raise _UnreadableError("expected a YAML file, but this is not a regular file")
        with open(file, "rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _UnreadableError(f"no such file: {os.path.abspath(file)}") from None
    except OSError as error:
        raise _UnreadableError(f"can not be read: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise _UnreadableError(f"larger than {MAX_BYTES} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        position = Position(file, before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise ConfigError([Problem((), f"not UTF-8 text: byte 0x{data[error.start]:02x}", position.text)]) from None
