"""Picture files as inputs of a model, in batches. Threads decode them ahead of their use."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import Literal

import numpy as np

from ppema.data.inputs import BatchTurns, InputBatch
from ppema.data.pictures.picture_files import PictureFiles
from ppema.data.pictures.preprocessing import PictureReader, Preprocessing
from ppema.errors import DataError, escaped

_TOGETHER = 16  # files that a thread decodes at a time: handing over one alone takes as long as a small picture
_AHEAD = 4  # such lots for each thread, decoded or being decoded
# Paths, each with its picture before the transforms, or with the reason for none.
Decoded = Generator[tuple[str, np.ndarray | DataError], None, None]


class PictureSource:
    """The picture files in `paths` as an InputSource (see `ppema.data.inputs`). `PictureFiles` describes which, in what order.

    on_error: "skip" leaves out a file that can not be read, and names it in a batch's `failed`; "stop" raises DataError.
    threads: those that decode; None: as many as there are processors for this process and the other ranks of its machine.

    Raises as PictureFiles does.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        preprocessing: Preprocessing,
        on_error: Literal["stop", "skip"] = "stop",
        threads: int | None = None,
    ):
        self._files = PictureFiles(paths)
        self._reader = PictureReader(preprocessing)
        self._shape = preprocessing.shape
        self._skips = on_error == "skip"
        self._threads = threads

    @property
    def total(self) -> int:
        """The number of files, also of those that can not be read."""
        return len(self._files)

    def batches(self, batch_size: int, turns: BatchTurns) -> Iterator[InputBatch]:
        """See `InputSource`. The pictures of `batch_size` files each, without those that are left out.

        Raises DataError for a file that can not be read, unless it is left out. A batch is made again by each call.
        """
        sizes = deque[int]()

        def own() -> Iterator[tuple[str, str | None]]:
            files = iter(self._files)
            while some := list(islice(files, batch_size)):
                if turns.mine():
                    sizes.append(len(some))
                    yield from some

        threads = self._threads or max(1, len(os.sched_getaffinity(0)) // turns.ranks.local_size)
        with closing(self._decoded(own(), threads)) as decoded:
            while some := list(islice(decoded, 1)):
                some += islice(decoded, sizes.popleft() - 1)
                yield self._batch_of(some)

    def _batch_of(self, decoded: Sequence[tuple[str, np.ndarray | DataError]]) -> InputBatch:
        names, pictures, failed = list[str](), list[np.ndarray](), list[tuple[str, str]]()
        for path, picture in decoded:
            if isinstance(picture, DataError):
                failed.append(self._left_out(path, picture))
            else:
                names.append(path)
                pictures.append(picture)
        return self._batch(names, pictures, failed)

    def _decoded(self, files: Iterator[tuple[str, str | None]], threads: int) -> Decoded:
        """Each file with its picture before the transforms, or with the reason for none."""
        waiting: deque[Future[list[tuple[str, np.ndarray | DataError]]]] = deque()
        pool = ThreadPoolExecutor(threads, "ppema pictures")
        try:
            while True:
                while len(waiting) < _AHEAD * threads and (lot := list(islice(files, _TOGETHER))):
                    waiting.append(pool.submit(self._decode, lot))
                if not waiting:
                    return
                yield from waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _decode(self, lot: Sequence[tuple[str, str | None]]) -> list[tuple[str, np.ndarray | DataError]]:
        found: list[tuple[str, np.ndarray | DataError]] = []
        for path, fault in lot:
            try:
                if fault is not None:
                    raise DataError(f"{escaped(path)}: {fault}")
                found.append((path, self._reader.decoded(path)))
            except DataError as error:
                found.append((path, error))
        return found

    def _batch(self, names: list[str], pictures: list[np.ndarray], failed: list[tuple[str, str]]) -> InputBatch:
        if len({picture.shape for picture in pictures}) == 1:
            try:
                return InputBatch(_shown(names), (self._reader.transformed(np.stack(pictures)),), tuple(failed))
            except DataError:
                pass  # which of them?
        kept, arrays = list[str](), list[np.ndarray]()
        for name, picture in zip(names, pictures, strict=True):
            try:
                arrays.append(self._reader.transformed(picture[None])[0])
                kept.append(name)
            except DataError as error:
                failed.append(self._left_out(name, DataError(f"{escaped(name)}: {error}")))
        made = np.stack(arrays) if arrays else np.empty((0, *self._shape), np.float32)
        return InputBatch(_shown(kept), (made,), tuple(failed))

    def _left_out(self, path: str, error: DataError) -> tuple[str, str]:
        """The name of a file, and the reason against it. Raises the error unless such files are left out."""
        if not self._skips:
            raise error
        return _shown([path])[0], str(error).removeprefix(f"{escaped(path)}: ")


def _shown(paths: Sequence[str]) -> tuple[str, ...]:
    """`paths` as text. The bytes of a name that is no UTF-8 become escapes."""
    return tuple(path.encode("utf-8", "backslashreplace").decode() for path in paths)
