"""Writes predictions into one NumPy .npz archive, whatever their number: arrays grow in files, and are joined at the end."""

from __future__ import annotations

import io
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy

from ppema.errors import PpemaError
from ppema.prediction.columns import check_keys
from ppema.prediction.predicted import PredictedBatch

_CHUNK = 2**20


class Archive:
    """Arrays with one row for each sample, in a folder beside `target`. `finish` makes the archive; `close` ends without it.

    names [N]: of the samples. Of an output of classes: probabilities float32 [N, C] and labels [N], or, of a map of classes,
    labels [N, H, W] alone. Of yes or no: probabilities. Of plain numbers: an array of the output's name. With several outputs,
    the name of each begins with that of its output. classes: the names of the classes, if they are known.

    Raises OSError if the folder can not be written.
    """

    def __init__(self, target: Path):
        self._target = target
        self._opened = ExitStack()
        self._folder = Path(
            self._opened.enter_context(tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}."))
        )
        self._columns: dict[str, _Growing] = {}
        self._names = self._opened.enter_context((self._folder / "names").open("w+b"))
        self._longest, self._count = 1, 0
        self._classes: dict[str, tuple[str, ...]] = {}

    def write(self, batch: PredictedBatch) -> None:
        """Append the samples of `batch`. Raises PpemaError for outputs of another shape than before, and for equal keys."""
        for name in batch.names:
            self._names.write(name.encode("utf-8", "surrogatepass") + b"\0")
            self._longest = max(self._longest, len(name))
        self._count += len(batch.names)
        arrays = list(_arrays(batch))
        check_keys(["names", *(key for key, _ in arrays)])
        for key, values in arrays:
            if key not in self._columns:
                file = self._opened.enter_context((self._folder / f"{len(self._columns)}.rows").open("w+b"))
                self._columns[key] = _Growing(key, file, values)
            self._columns[key].append(values)
        prefixed = ((f"{form.name}.classes" if len(batch.forms) > 1 else "classes", form.classes) for form in batch.forms)
        self._classes |= {key: names for key, names in prefixed if names is not None}

    def finish(self) -> None:
        """Write the archive, and put it in place of `target`. Raises OSError."""
        made = self._folder / "made.npz"
        with zipfile.ZipFile(made, "w", allowZip64=True) as archive:
            with archive.open("names.npy", "w", force_zip64=True) as member:
                member.write(_header((self._count,), np.dtype(f"<U{self._longest}")))
                for name in self._texts():
                    member.write(name.encode("utf-32-le", "surrogatepass").ljust(4 * self._longest, b"\0"))
            for key, column in self._columns.items():
                with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                    member.write(_header((self._count, *column.shape), column.dtype))
                    column.file.seek(0)
                    shutil.copyfileobj(column.file, member, _CHUNK)
            for key, names in self._classes.items():
                with archive.open(f"{key}.npy", "w") as member:
                    npy.write_array(member, np.array(names), allow_pickle=False)
        made.replace(self._target)

    def close(self) -> None:
        """Remove the folder. Idempotent."""
        self._opened.close()

    def _texts(self) -> Iterator[str]:
        self._names.seek(0)
        left = b""
        while content := self._names.read(_CHUNK):
            *whole, left = (left + content).split(b"\0")
            yield from (each.decode("utf-8", "surrogatepass") for each in whole)


class _Growing:
    """An array whose rows are appended to a file."""

    def __init__(self, key: str, file: BinaryIO, first: np.ndarray):
        self.key, self.file, self.shape, self.dtype = key, file, first.shape[1:], first.dtype

    def append(self, values: np.ndarray) -> None:
        if values.shape[1:] != self.shape:
            raise PpemaError(
                f"{self.key}: {list(values.shape[1:])} for one sample, {list(self.shape)} for another: an archive needs one "
                "shape: write jsonl"
            )
        self.file.write(np.ascontiguousarray(values).data)


def _arrays(batch: PredictedBatch) -> Iterator[tuple[str, np.ndarray]]:
    for form in batch.forms:
        prefix = f"{form.name}." if len(batch.forms) > 1 else ""
        if form.axis is None and form.scores is None:
            yield form.name, batch.outputs[form.name]
            continue
        labels = batch.labels.get(form.name)
        if labels is None or labels.ndim == 1:
            yield f"{prefix}probabilities", batch.probabilities[form.name]
        if labels is not None and form.axis is not None:
            count = batch.outputs[form.name].shape[form.axis]
            yield f"{prefix}labels", labels.astype(np.min_scalar_type(count - 1)) if labels.ndim > 1 else labels


def _header(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    text = io.BytesIO()
    npy.write_array_header_2_0(text, {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
    return text.getvalue()
