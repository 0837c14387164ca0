"""Reads IDX files, the format of MNIST and Fashion-MNIST: a header of big-endian integers, then raw bytes."""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ppema.data.sets.arrays import ArrayDataset
from ppema.data.sets.files import existing_file, open_binary
from ppema.errors import DataError, one_line

IMAGES_MAGIC = b"\x00\x00\x08\x03"  # unsigned bytes, 3 dimensions
LABELS_MAGIC = b"\x00\x00\x08\x01"  # unsigned bytes, 1 dimension
KINDS = {IMAGES_MAGIC: "images", LABELS_MAGIC: "labels"}
CHUNK = 1 << 20

DEBIAN_FOLDER = "/usr/share/datasets/fashion-mnist"
DEBIAN_HINT = "get it on Debian or Ubuntu with: apt-get install dataset-fashion-mnist"
HINT = "download the four IDX files of MNIST or Fashion-MNIST, packed or not, and give their paths as images and labels"


def idx(images: str, labels: str) -> ArrayDataset:
    """Images [1, H, W] float32 in [0, 1] (255ths) and labels int64 in 0..255, from two IDX files, plain or gzipped.

    Raises MissingError for a missing file; the message explains how to get it. Raises DataError, which names the file, for
    another format, for a size that differs from the header, for no samples, and for unequal numbers of images and labels.
    """
    pixels = read_idx(images, IMAGES_MAGIC)
    targets = read_idx(labels, LABELS_MAGIC)
    if len(pixels) != len(targets):
        raise DataError(f"{images}: {len(pixels)} images, but {labels} has {len(targets)} labels")
    scaled = np.divide(pixels, np.float32(255), dtype=np.float32)
    return ArrayDataset((scaled[:, np.newaxis], targets), images)


def read_idx(path: str, magic: bytes) -> np.ndarray:
    """The uint8 array in the IDX file `path`, which must begin with `magic`.

    Memory is reserved for the bytes in the file, not for the size in its header. Raises as `idx` does.
    """
    found = existing_file(path, DEBIAN_HINT if path.startswith(DEBIAN_FOLDER) else HINT)
    try:
        return _read(found, magic)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except EOFError:
        raise DataError(f"{path}: the gzip file is cut off") from None
    except (OSError, zlib.error) as error:
        raise DataError(f"{path}: {one_line(error)}") from error


def _read(path: Path, magic: bytes) -> np.ndarray:
    with open_binary(path) as file:
        start = file.read(4)
        if not start:
            raise DataError("the file is empty")
        if start != magic:
            found = KINDS.get(start)
            is_what = f"holds IDX {found}" if found else f"begins with 0x{start.hex()}, which is not IDX"
            raise DataError(f"{is_what}, where IDX {KINDS[magic]} (0x{magic.hex()}) were expected")
        header = file.read(4 * magic[3])
        if len(header) < 4 * magic[3]:
            raise DataError("is cut off in its header")
        shape = tuple(int(size) for size in np.frombuffer(header, ">u4"))
        if 0 in shape:
            raise DataError(f"holds no sample: its header says {list(shape)}")
        size = math.prod(shape)
        data = _read_at_most(file, size + 1)
    if len(data) != size:
        problem = f"has only {len(data)}" if len(data) < size else "has more"
        raise DataError(f"its header says {list(shape)}, {size} bytes, but it {problem}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _read_at_most(file: BinaryIO, size: int) -> bytearray:
    data = bytearray()
    while len(data) < size and (chunk := file.read(min(CHUNK, size - len(data)))):
        data += chunk
    return data
