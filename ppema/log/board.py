"""Names, finds, writes and reads VisualDL's files, and serves its page. No other module of ppema knows VisualDL."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import struct
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from visualdl.component.base_component import histogram, hparam, image, meta_data, scalar, text
from visualdl.proto import record_pb2
from visualdl.writer.record_writer import RecordWriter

from ppema.checkpoint.appended import AppendedFile
from ppema.checkpoint.folder import contents

# VisualDL's first record, about the file itself, is smaller than this. A file with any figure is larger.
_NO_FIGURE = 64  # bytes
# The key under which a browser keeps the smoothing that its user has chosen.
_UNSMOOTHED = "<script>localStorage.scalar_smoothing ??= 0</script>"
# The length of a record comes before it.
_LENGTH = struct.Struct("<Q")


class BoardFile:
    """A new VisualDL file. Records are gathered until `flush` writes them.

    VisualDL's own LogWriter writes from a thread. A full disk ends that thread silently, and the process then hangs.
    """

    def __init__(self, folder: Path):
        """Create the file in the existing `folder`. Raises OSError."""
        self.folder = folder
        self._file = AppendedFile(_new_file(folder))
        self._gathered = io.BytesIO()
        self._writer = RecordWriter(self._gathered)
        self.add(meta_data(display_name="", walltime=_now()))

    def add(self, record: Any) -> None:
        """Gather any record of VisualDL."""
        self._writer.write(record.SerializeToString())

    def scalar(self, tag: str, value: float, step: int) -> None:
        self.add(scalar(_tag(tag), value, step, _now()))

    def text(self, tag: str, value: str, step: int) -> None:
        self.add(text(_tag(tag), value, step, _now()))

    def histogram(self, tag: str, counts: np.ndarray, edges: np.ndarray, step: int) -> None:
        """counts: [n] numbers; edges: [n + 1] float, the borders of the bins."""
        self.add(histogram(_tag(tag), counts.astype(float), edges, step, _now()))

    def image(self, tag: str, pixels: np.ndarray, step: int) -> None:
        """pixels: [height, width, 3] uint8."""
        self.add(image(_tag(tag), pixels, step, _now()))

    def flush(self) -> None:
        """Write what was gathered. Raises OSError if that fails; the next `flush` then tries again."""
        piece = self._gathered.getvalue()
        self._gathered.seek(0)
        self._gathered.truncate()
        self._file.append(piece)

    def close(self) -> None:
        self._file.close()


def add_hyperparameters(file: Path, values: Mapping[str, int | float | str], metric: str) -> None:
    """Append a row of VisualDL's table of hyperparameters to a finished file: `values` by name, and the last scalar `metric`.

    VisualDL shows no value whose name has a dot. Raises OSError.
    """
    pieces = io.BytesIO()
    named = {name.replace(".", "/"): value for name, value in values.items()}
    RecordWriter(pieces).write(hparam("", named, [_tag(metric)], _now()).SerializeToString())
    with contextlib.closing(AppendedFile(file)) as opened:
        opened.append(pieces.getvalue())


def has_figures(folder: Path) -> bool:
    """Whether a VisualDL file in `folder` has a figure. Raises CheckpointError if `folder` can not be read."""
    return any((folder / name).lstat().st_size > _NO_FIGURE for name in board_files(folder))


def board_files(folder: Path) -> list[str]:
    """The names of VisualDL's files in `folder`. Raises CheckpointError if `folder` can not be read."""
    names = [each.name for each in contents(folder) if not each.is_dir(follow_symlinks=False)]
    return [name for name in names if name.startswith("vdlrecords.") and name.endswith(".log")]


def kept_records(file: Path, step: int) -> Iterator[Any]:
    """The images, histograms and hyperparameters in a VisualDL file up to `step`. Other records can be written again.

    A damaged or unfinished record ends the file. Raises OSError.
    """
    with file.open("rb") as opened:
        left = os.fstat(opened.fileno()).st_size
        while left >= _LENGTH.size:
            (size,) = _LENGTH.unpack(opened.read(_LENGTH.size))
            left -= _LENGTH.size + size
            if left < 0:
                return
            record = getattr(record_pb2, "Record")()  # noqa: B009 - protobuf makes its classes when it is imported
            try:
                record.ParseFromString(opened.read(size))
            except DecodeError:
                return
            for value in record.values:
                kind = value.WhichOneof("one_value")
                if kind == "hparam" or (kind in ("image", "histogram") and value.id <= step):
                    yield record


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


def serve(folder: str, host: str, port: int, order: Sequence[str]) -> None:
    """Serve VisualDL's page in this process, which its parent has started with a pipe as stdin. It ends with its parent.

    folder: of the runs, the working directory, so that their names are short; it is deleted if the parent dies. order: names of
    runs, which give the order of the curves.
    """
    from visualdl.server import app

    class UnsmoothedPage(app.Template):
        """VisualDL's page with another default: it smooths curves by 0.6, which would hide how the raw weights differ."""

        def render(self, file: str) -> Any:
            response = super().render(file)
            if file == "index.html":
                response.set_data(response.get_data(as_text=True).replace("<head>", f"<head>{_UNSMOOTHED}", 1))
            return response

    app.Template = UnsmoothedPage
    threading.Thread(target=_end_with_parent, args=(folder,), daemon=True).start()
    # VisualDL asks its own server whether it lives, through the proxy of the environment.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = host
    tops = dict.fromkeys(name.partition("/")[0] for name in order)
    options = ["--host", host, "--port", str(port), "--language", "en", "--disable-telemetry"]
    sys.argv[1:] = ["--logdir", *order, *tops, *options]
    app.main()


def _end_with_parent(folder: str) -> None:
    # stdin ends when no process holds the other end of the pipe.
    os.read(0, 1)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)
