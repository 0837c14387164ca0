"""The place of written predictions: a file that appears when it is complete, or a stream."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TextIO, get_args

from ppema.checkpoint.durable import sync_folder
from ppema.checkpoint.lock import is_at, lock_now
from ppema.errors import Naming, PpemaError, TrainingError
from ppema.prediction.archive import Archive
from ppema.prediction.writers import CsvLines, FileFormat, JsonLines, TableLines, Writer


def format_of(to: str | None, asked: str | None) -> FileFormat:
    """The format of the file `to`, or of a stream if None: `asked`, else that of the file's suffix, else a table.

    Raises PpemaError for a file without a known suffix, and for an archive without a file.
    """
    by_suffix = None if to is None else next((each for each in get_args(FileFormat) if to.lower().endswith(f".{each}")), None)
    if to is not None and asked is None and by_suffix is None:
        raise PpemaError(Naming("{to}: {}: expected a name in .jsonl, .csv or .npz, or give {format}", to))
    if to is None and asked == "npz":
        raise PpemaError(Naming("{format} npz requires {to} FILE.npz"))
    if asked == "npz" and by_suffix != "npz":
        raise PpemaError(Naming("{to}: {}: a file of {format} npz ends in .npz", to))
    return asked or by_suffix or "table"  # pyright: ignore[reportReturnType]


def partial_of(to: Path) -> Path:
    """The file that grows until it is complete, and that stays if it never is."""
    return to.with_name(f"{to.name}.partial")


def on_stream(stream: TextIO, made: FileFormat, top: int, width: int | None = None, total: int | None = None) -> Writer:
    """The writer of the format `made` to `stream`. top: the number of classes; width, total: see `TableLines`."""
    if made == "table":
        return TableLines(stream, top, width, total)
    return JsonLines(stream, top) if made == "jsonl" else CsvLines(stream, top)


@contextmanager
def in_file(to: Path, made: FileFormat, top: int) -> Iterator[Writer]:
    """The writer of a new file `to`, which replaces an earlier one when the context ends without an error.

    After an error, a text file stays under `partial_of(to)` with the batches that are done; of an archive, nothing stays.
    Raises PpemaError for a folder, and for a text file that another process is writing; TrainingError if the file can not be
    written.
    """
    if to.is_dir():
        raise PpemaError(Naming("{to}: {}: it is a folder: name a file in it", to))
    if not to.parent.is_dir():
        raise PpemaError(Naming("{to}: {}: there is no folder {}", to, to.parent))
    try:
        if made == "npz":
            with closing(Archive(to)) as archive:
                yield archive
                archive.finish()
            return
        partial = partial_of(to)
        with open(_held(partial, to), "w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            try:
                yield on_stream(stream, made, top)
                stream.flush()
                os.fsync(stream.fileno())
            except BaseException:
                stream.flush()
                if not os.fstat(stream.fileno()).st_size:
                    partial.unlink()
                raise
            os.replace(partial, to)
            sync_folder(to.parent)
    except OSError as error:
        raise TrainingError(f"{to}: the predictions could not be written: {error}") from error


def _held(partial: Path, to: Path) -> int:
    """A handle on the empty file `partial`, which this process alone writes until the handle is closed.

    Raises PpemaError if another process writes it, and OSError.
    """
    handle = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        lock_now(handle)
        mine = is_at(partial, handle)  # the other process may have given its file the name `to` just before the lock
    except (BlockingIOError, PermissionError):
        mine = False
    except BaseException:
        os.close(handle)
        raise
    if not mine:
        os.close(handle)
        raise PpemaError(Naming("{to}: {}: another process is writing it: choose another name", to))
    os.ftruncate(handle, 0)
    return handle
