"""VisualDL's files of scalars and images: how they are named, found and written. Nothing else in ppema knows VisualDL."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from visualdl.component.base_component import image, meta_data, scalar
from visualdl.writer.record_writer import RecordWriter

from ppema.checkpoint.appended import AppendedFile
from ppema.checkpoint.folder import contents

# VisualDL's record of the file itself takes less; with one figure behind it a file takes more.
_NO_FIGURE = 64  # bytes


class Board:
    """A new file of VisualDL's. Its methods raise OSError where they can not write; what they were given is then written later.

    VisualDL's own LogWriter writes from a thread. A full disk ends that thread unseen, and the process waits for it for ever.
    """

    def __init__(self, folder: Path):
        """Make the file in `folder`, which exists, and begin it with `begin`. Raises OSError."""
        self.file = AppendedFile(_new_file(folder))
        self._writer = RecordWriter(self.file)

    def begin(self) -> None:
        """Write the record that comes first in every file."""
        self._write(meta_data(display_name="", walltime=_now()))

    def scalar(self, tag: str, value: float, step: int) -> None:
        self._write(scalar(_tag(tag), value, step, _now()))

    def image(self, tag: str, pixels: np.ndarray, step: int) -> None:
        """pixels: [height, width, 3] uint8."""
        self._write(image(_tag(tag), pixels, step, _now()))

    def close(self) -> None:
        self.file.close()

    def _write(self, record: Any) -> None:
        self._writer.write(record.SerializeToString())


def has_figures(folder: Path) -> bool:
    """Whether a file of VisualDL's in `folder` holds a figure. Raises CheckpointError where it can not be read."""
    return any((folder / name).lstat().st_size > _NO_FIGURE for name in board_files(folder))


def board_files(folder: Path) -> list[str]:
    """The names of VisualDL's files in `folder`. Raises CheckpointError where it can not be read."""
    names = [each.name for each in contents(folder) if not each.is_dir(follow_symlinks=False)]
    return [name for name in names if name.startswith("vdlrecords.") and name.endswith(".log")]


def _new_file(folder: Path) -> Path:
    """A name by the second, as VisualDL has it, that is not taken."""
    second = int(time.time())
    while os.path.lexists(path := folder / f"vdlrecords.{second:010d}.log"):
        second += 1
    return path


def _tag(tag: str) -> str:
    """VisualDL refuses "%" in a tag; a layer may be called so."""
    return tag.replace("%", "_")


def _now() -> int:
    """Milliseconds, as VisualDL counts."""
    return round(time.time() * 1000)
