"""Names, finds and writes VisualDL's files of scalars and images. No other module of ppema knows VisualDL."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from visualdl.component.base_component import image, meta_data, scalar
from visualdl.writer.record_writer import RecordWriter

from ppema.checkpoint.appended import AppendedFile
from ppema.checkpoint.folder import contents

# VisualDL's first record, about the file itself, is smaller than this. A file with any figure is larger.
_NO_FIGURE = 64  # bytes


class Board:
    """A new VisualDL file. Records are gathered until `flush` writes them.

    VisualDL's own LogWriter writes from a thread. A full disk ends that thread silently, and the process then hangs.
    """

    def __init__(self, folder: Path):
        """Create the file in the existing `folder`. Raises OSError."""
        self._file = AppendedFile(_new_file(folder))
        self._gathered = io.BytesIO()
        self._writer = RecordWriter(self._gathered)
        self._add(meta_data(display_name="", walltime=_now()))

    def scalar(self, tag: str, value: float, step: int) -> None:
        self._add(scalar(_tag(tag), value, step, _now()))

    def image(self, tag: str, pixels: np.ndarray, step: int) -> None:
        """pixels: [height, width, 3] uint8."""
        self._add(image(_tag(tag), pixels, step, _now()))

    def flush(self) -> None:
        """Write what was gathered. Raises OSError if that fails; the next `flush` then tries again."""
        piece = self._gathered.getvalue()
        self._gathered.seek(0)
        self._gathered.truncate()
        self._file.append(piece)

    def close(self) -> None:
        self._file.close()

    def _add(self, record: Any) -> None:
        self._writer.write(record.SerializeToString())


def has_figures(folder: Path) -> bool:
    """Whether a VisualDL file in `folder` has a figure. Raises CheckpointError if `folder` can not be read."""
    return any((folder / name).lstat().st_size > _NO_FIGURE for name in board_files(folder))


def board_files(folder: Path) -> list[str]:
    """The names of VisualDL's files in `folder`. Raises CheckpointError if `folder` can not be read."""
    names = [each.name for each in contents(folder) if not each.is_dir(follow_symlinks=False)]
    return [name for name in names if name.startswith("vdlrecords.") and name.endswith(".log")]


def _new_file(folder: Path) -> Path:
    """A free path. As in VisualDL the name has the time in seconds."""
    second = int(time.time())
    while os.path.lexists(path := folder / f"vdlrecords.{second:010d}.log"):
        second += 1
    return path


def _tag(tag: str) -> str:
    """`tag` with "_" for "%", which VisualDL refuses. Names of layers may contain it."""
    return tag.replace("%", "_")


def _now() -> int:
    """The time in milliseconds, as VisualDL records it."""
    return round(time.time() * 1000)
