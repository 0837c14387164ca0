"""Inputs in a NumPy .npz archive, of which only a batch is in memory at a time."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from ppema.data.given.preparation import Preparation
from ppema.data.inputs import BatchTurns, InputBatch
from ppema.data.sets.files import existing_file
from ppema.errors import DataError, listed, one_line, printable
from ppema.user_code.names import did_you_mean

_SUFFIX = ".npy"
_FAULTS = (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, ValueError)


class NpzInputs:
    """The arrays of the archive `path` that are the model's inputs, [N, ...] each.

    They have the names of the inputs, or `aliases`; an archive without any of these names has them in the order of the inputs,
    and nothing else. aliases: the arrays' names in the run's own archives; () if it names no arrays.

    Raises DataError for a file that is no archive, for a missing array, for Python objects, and for lengths that differ.
    """

    def __init__(self, path: str, how: Preparation, aliases: Sequence[str] = ()):
        self._path, self._how = path, how
        self._file = existing_file(path)
        try:
            with zipfile.ZipFile(self._file) as archive:
                there = [name[: -len(_SUFFIX)] for name in archive.namelist() if name.endswith(_SUFFIX)]
                self._members = [_member(archive, name, path) for name in self._chosen(there, aliases)]
        except _FAULTS as error:
            raise DataError(f"{path}: it is no .npz archive, which numpy.savez writes: {one_line(error)}") from error
        lengths = [each.shape[0] for each in self._members]
        if len(set(lengths)) > 1:
            counts = ", ".join(f"{each.name} {length}" for each, length in zip(self._members, lengths, strict=True))
            raise DataError(f"{path}: the numbers of samples differ: {counts}")
        if lengths[0] == 0:
            raise DataError(f"{path}: there are no samples in it")

    def _chosen(self, there: Sequence[str], aliases: Sequence[str]) -> Sequence[str]:
        names = self._how.names
        for known in (names, aliases):
            if known and all(name in there for name in known):
                return known
        if len(there) == len(names) and not {*names, *aliases} & {*there}:
            return there
        missing = next(name for name in names if name not in there)
        hint = did_you_mean(missing, there) or f"; it has {listed(list(map(printable, there)), most=20) or 'none'}"
        raise DataError(f"{self._path}: no array {missing!r}{hint}")

    @property
    def total(self) -> int:
        """The number of samples."""
        return self._members[0].shape[0]

    def batches(self, batch_size: int, turns: BatchTurns) -> Iterator[InputBatch]:
        """See `InputSource`. Samples are named "file.npz[0]", ..."""
        prepared = self._how.started(self._path)
        with ExitStack() as opened:
            try:
                archive = opened.enter_context(zipfile.ZipFile(self._file))
                reading = [each.opened(archive, opened) for each in self._members]
            except _FAULTS as error:
                raise DataError(f"{self._path}: {one_line(error)}") from error
            for start in range(0, self.total, batch_size):
                indices = np.arange(start, min(start + batch_size, self.total))
                try:
                    rows = [each.rows(len(indices)) for each in reading]
                except _FAULTS as error:
                    raise DataError(f"{self._path}: damaged: {one_line(error)}") from error
                if turns.mine():
                    yield prepared.batch([f"{self._path}[{index}]" for index in indices], indices, rows)


@dataclass(frozen=True)
class _Member:
    """An array of an archive, as its header describes it."""

    name: str
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype

    def opened(self, archive: zipfile.ZipFile, until: ExitStack) -> _Rows:
        file = until.enter_context(archive.open(self.name + _SUFFIX))
        if self.fortran:  # its first axis is the fastest, so that samples are not in a row
            return _Rows(self, iter([npy.read_array(file, allow_pickle=False)]), None)
        _header(file)
        return _Rows(self, iter(()), file)


class _Rows:
    """Reads a member row by row."""

    def __init__(self, member: _Member, whole: Iterator[np.ndarray], file: IO[bytes] | None):
        self._member, self._file, self._at = member, file, 0
        self._whole = next(whole, None)

    def rows(self, count: int) -> np.ndarray:
        """The next `count` rows. Raises EOFError at the end of the file."""
        self._at += count
        if self._whole is not None:
            return np.ascontiguousarray(self._whole[self._at - count : self._at])
        assert self._file is not None
        shape = (count, *self._member.shape[1:])
        size = math.prod(shape) * self._member.dtype.itemsize
        content = self._file.read(size)
        if len(content) < size:
            raise EOFError(f"{self._member.name}{_SUFFIX} ends in row {self._at - count}")
        return np.frombuffer(content, self._member.dtype).reshape(shape)


def _member(archive: zipfile.ZipFile, name: str, path: str) -> _Member:
    with archive.open(name + _SUFFIX) as file:
        shape, fortran, dtype = _header(file)
    if dtype.hasobject:
        raise DataError(f"{path}: array {printable(name)!r} holds Python objects, not numbers")
    if not shape:
        raise DataError(f"{path}: array {printable(name)!r} is one number: the first axis counts the samples")
    return _Member(name, shape, fortran, dtype)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether the order is Fortran's, and dtype. Raises ValueError."""
    version = npy.read_magic(file)
    if version == (1, 0):
        return npy.read_array_header_1_0(file)
    if version == (2, 0):
        return npy.read_array_header_2_0(file)
    raise ValueError(f"arrays of version {version[0]}.{version[1]} of the format can not be read")


def is_npz(path: str) -> bool:
    """Whether a path is that of an archive, by its suffix."""
    return Path(path).suffix.lower() == ".npz"
