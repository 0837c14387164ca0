"""Files of arrays (safetensors): written from memory with the layout of the file, and checked when read."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import xxhash
from ml_dtypes import bfloat16
from pydantic import BaseModel, ConfigDict, NonNegativeInt
from safetensors import deserialize

from ppema.errors import CheckpointError, one_line

Arrays = Mapping[str, np.ndarray]
Form = tuple[np.dtype, tuple[int, ...]]

_METADATA = "__metadata__"
# The format's names of numpy's dtypes. Large dtypes come first, so that every array is aligned in the file.
_TYPES = {
    "uint64": "U64",
    "int64": "I64",
    "float64": "F64",
    "float32": "F32",
    "uint32": "U32",
    "int32": "I32",
    "bfloat16": "BF16",
    "float16": "F16",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}
# U16 holds the bits of bfloat16 in files that numpy wrote; Paddle has no uint16.
_NUMPY_TYPES = {name: np.dtype(kind) for kind, name in _TYPES.items()} | {"U16": np.dtype(bfloat16)}


class Record(BaseModel):
    """A file in a manifest. size: in bytes; xxh3_128: the XXH3 checksum of 128 bits of its content, in hexadecimal."""

    model_config = ConfigDict(frozen=True, strict=True)

    size: NonNegativeInt
    xxh3_128: str


class Image:
    """A safetensors file in memory.

    `views` are arrays by name that share the memory of the file's data. A reused image needs one copy per save, and no new
    memory.
    """

    def __init__(self, forms: Mapping[str, Form], said: Mapping[str, str] | None = None):
        """forms: dtype and shape of each array by name; said: the file's metadata.

        Raises ValueError for a name that is a path or reserved by the format, and for a dtype that the format lacks.
        """
        names = sorted(forms, key=lambda name: (_rank(name, forms[name][0]), name))
        header: dict[str, Any] = {_METADATA: dict(sorted(said.items()))} if said else {}
        offset, places = 0, {}
        for name in names:
            check_name(name)
            dtype, shape = forms[name]
            end = offset + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
            header[name] = {"dtype": _TYPES[dtype.name], "shape": list(shape), "data_offsets": [offset, end]}
            places[name], offset = slice(offset, end), end
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        # The data begins at a multiple of 8, so that every array in a mapped file is aligned.
        text += b" " * (-len(text) % 8)
        self.header = len(text).to_bytes(8, "little") + text
        self.data = np.empty(offset, np.uint8)
        self.views = {name: self.data[places[name]].view(forms[name][0]).reshape(forms[name][1]) for name in names}

    @classmethod
    def of(cls, arrays: Arrays, said: Mapping[str, str] | None = None) -> Image:
        """The file with a copy of `arrays`."""
        image = cls({name: (array.dtype, array.shape) for name, array in arrays.items()}, said)
        for name, array in arrays.items():
            np.copyto(image.views[name], array)
        return image

    def record(self) -> Record:
        """The size and checksum of the file's present content."""
        digest = xxhash.xxh3_128(self.header)
        digest.update(self.data.data)
        return Record(size=len(self.header) + self.data.nbytes, xxh3_128=digest.hexdigest())


def read_arrays(file: Path, record: Record | None = None) -> dict[str, np.ndarray]:
    """The arrays in the file, by name. Raises CheckpointError if it is missing, damaged, or different from `record`."""
    return arrays_in(read_bytes(file, record), file)


def arrays_in(content: bytes, file: Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file, read-only, by name and in the order of the names.

    file: the origin of `content`, for messages. Raises CheckpointError if it is damaged.
    """
    try:
        # The library returns them in no order.
        found = sorted(deserialize(content), key=lambda item: item[0])
    except Exception as error:
        # On a damaged header, safetensors may raise any exception.
        raise CheckpointError(f"{file}: damaged: {one_line(error)}") from error
    arrays = {}
    for name, each in found:
        try:
            check_name(name)
        except ValueError as error:
            raise CheckpointError(f"{file}: damaged: {error}") from error
        if each["dtype"] not in _NUMPY_TYPES:
            raise CheckpointError(f"{file}: {name} is {each['dtype']}, which ppema does not know")
        try:
            arrays[name] = np.frombuffer(each["data"], _NUMPY_TYPES[each["dtype"]]).reshape(each["shape"])
        except ValueError as error:
            # The array has more dimensions than numpy supports.
            raise CheckpointError(f"{file}: {name}: {one_line(error)}") from error
    return arrays


def metadata_in(content: bytes) -> dict[str, str]:
    """The metadata in the content of a safetensors file, whose arrays were read without an error."""
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size]).get(_METADATA, {})


def read_bytes(file: Path, record: Record | None = None, most: int | None = None) -> bytes:
    """The content of a regular file.

    Raises CheckpointError if the file is missing, differs from `record`, or has more than `most` bytes. Its size is checked
    before it is read.
    """
    if "\0" in str(file):
        raise CheckpointError(f"{str(file)!r}: it can be no file's name")
    try:
        kind = file.stat()
        if not stat.S_ISREG(kind.st_mode):
            raise CheckpointError(f"{file}: it is no regular file")
        if record is not None and kind.st_size != record.size:
            raise CheckpointError(f"{file}: damaged: it has {kind.st_size} bytes, and {record.size} were written")
        if most is not None and kind.st_size > most:
            raise CheckpointError(f"{file}: damaged: it has {kind.st_size} bytes, and never more than {most} were written")
        content = file.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{file}: {error.strerror}") from error
    if record is not None and xxhash.xxh3_128_hexdigest(content) != record.xxh3_128:
        raise CheckpointError(f"{file}: damaged: its checksum is not that of what was written")
    return content


def check_name(name: str) -> None:
    """Raise ValueError for a name that no variable can have: one that is reserved by the format, or a path out of a folder."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or name == _METADATA or not name.isprintable() or ".." in parts or parts[0] == "/":
        raise ValueError(f"{name!r} can be no variable's name")


def _rank(name: str, dtype: np.dtype) -> int:
    """The rank of `dtype` in the order of arrays in a file. Raises ValueError for a dtype that the format lacks."""
    if dtype.name not in _TYPES:
        raise ValueError(f"{name} is {dtype.name}, which a checkpoint can not hold")
    return list(_TYPES).index(dtype.name)
