"""Finds picture files in folders, in little memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ppema.data.pictures.decoding import SUFFIXES
from ppema.data.sets.files import MissingError
from ppema.errors import DataError, one_line

_BETWEEN = "\0"  # no file's name has it


class _Listed(NamedTuple):
    """The files `names`, joined by _BETWEEN, of one folder, "" for paths as they were given. fault: why they are unknown."""

    folder: str
    names: str
    fault: str | None = None


class PictureFiles:
    """The picture files in `paths`, in order. An item is a path, and the reason if it can not be read, else None.

    A path of a file is taken whatever its name. Of a folder, and of the folders in it, those files are taken that have one of
    SUFFIXES. Names that begin with a dot are left out. Files of a folder are sorted by name, and come before those of its
    subfolders. Links are followed, but not to a folder that holds them.

    They are listed once. A million files take the memory of their names alone.

    Raises MissingError for a path that does not exist, and DataError for a folder without pictures, and for no paths.
    """

    def __init__(self, paths: Sequence[str | os.PathLike[str]]):
        if not paths:
            raise DataError("no picture: give files or folders")
        self._listed: list[_Listed] = []
        self._count = 0
        for path in paths:
            found = os.path.expanduser(os.fspath(path))
            if os.path.isdir(found):
                before = self._count
                self._add_folder(found)
                if self._count == before:
                    raise DataError(f"{path}: no picture in this folder ({', '.join(SUFFIXES)})")
            elif os.path.lexists(found):
                self._add("", [found])
            else:
                raise MissingError(os.fspath(path), "no such file or folder")

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[str, str | None]]:
        for folder, names, fault in self._listed:
            start = 0
            while start <= len(names):
                end = names.find(_BETWEEN, start)
                end = len(names) if end < 0 else end
                yield os.path.join(folder, names[start:end]) if names else folder, fault
                start = end + 1

    def _add(self, folder: str, names: Sequence[str]) -> None:
        if names:
            self._listed.append(_Listed(folder, _BETWEEN.join(names)))
            self._count += len(names)

    def _add_folder(self, root: str) -> None:
        waiting: list[tuple[str, frozenset[tuple[int, int]]]] = [(root, frozenset())]
        while waiting:
            folder, above = waiting.pop()
            names, folders = list[str](), list[str]()
            try:
                found = os.stat(folder)
                itself = (found.st_dev, found.st_ino)
                if itself in above:
                    continue
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if entry.name.startswith("."):
                            continue
                        if _is_folder(entry):
                            folders.append(entry.name)
                        elif entry.name.lower().endswith(SUFFIXES):
                            names.append(entry.name)
            except OSError as error:
                self._listed.append(_Listed(folder, "", error.strerror or one_line(error)))
                self._count += 1
                continue
            self._add(folder, sorted(names))
            waiting += [(os.path.join(folder, name), above | {itself}) for name in sorted(folders, reverse=True)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, which is left for its reader to name
        return False
