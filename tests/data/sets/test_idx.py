"""IDX files: the values that are read, and every fault of a file."""

import gzip
import struct

import numpy as np
import pytest

from ppema.data.fields import Field
from ppema.data.sets.idx import idx
from ppema.errors import DataError

IMAGES = struct.pack(">4B3I", 0, 0, 8, 3, 2, 1, 3) + bytes([0, 51, 255, 1, 2, 3])
LABELS = struct.pack(">4BI", 0, 0, 8, 1, 2) + bytes([9, 200])


@pytest.fixture
def files(tmp_path):
    def write(images=IMAGES, labels=LABELS):
        (tmp_path / "images").write_bytes(images)
        (tmp_path / "labels").write_bytes(labels)
        return str(tmp_path / "images"), str(tmp_path / "labels")

    return write


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_values(files, pack):
    dataset = idx(*files(pack(IMAGES), pack(LABELS)))
    assert dataset.fields == (Field((1, 1, 3), "float32", "input_0"), Field((), "int64", "target", is_target=True))
    images, labels = dataset.arrays
    np.testing.assert_array_equal(images[0, 0, 0], np.array([0, 0.2, 1], np.float32))
    np.testing.assert_array_equal(images[1, 0, 0], np.array([1, 2, 3], np.float32) / np.float32(255))
    assert labels.tolist() == [9, 200]


def header(*sizes):
    return struct.pack(f">4B{len(sizes)}I", 0, 0, 8, len(sizes), *sizes)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (LABELS, "holds IDX labels, where IDX images (0x00000803) were expected"),
        (b"\x89PNG....", "begins with 0x89504e47, which is not IDX, where IDX images (0x00000803) were expected"),
        (b"", "the file is empty"),
        (IMAGES[:11], "is cut off in its header"),
        (IMAGES[:-1], "its header says [2, 1, 3], 6 bytes, but it has only 5"),
        (IMAGES + b"\0", "its header says [2, 1, 3], 6 bytes, but it has more"),
        (header(0, 28, 28), "holds no sample: its header says [0, 28, 28]"),
        (
            header(2**32 - 1, 2**32 - 1, 2**32 - 1) + b"1234",
            "its header says [4294967295, 4294967295, 4294967295], 79228162458924105385300197375 bytes, but it has only 4",
        ),
        # Its time is fixed, since it is part of the test's name, which both workers of pytest-xdist must agree on.
        (gzip.compress(IMAGES, mtime=0)[:-12], "the gzip file is cut off"),
    ],
)
def test_wrong_files(files, images, message):
    paths = files(images)
    with pytest.raises(DataError) as caught:
        idx(*paths)
    assert str(caught.value) == f"{paths[0]}: {message}"


def test_damaged_gzip(files):
    packed = bytearray(gzip.compress(IMAGES * 100))
    packed[15] ^= 0xFF
    paths = files(bytes(packed))
    with pytest.raises(DataError) as caught:
        idx(*paths)
    assert str(caught.value).startswith(f"{paths[0]}: ")
    assert "\n" not in str(caught.value)


def test_counts_differ(files):
    images, labels = files(labels=header(3) + bytes(3))
    with pytest.raises(DataError) as caught:
        idx(images, labels)
    assert str(caught.value) == f"{images}: 2 images, but {labels} has 3 labels"


def test_missing_files_say_how_to_get_them(tmp_path):
    debian = "/usr/share/datasets/fashion-mnist/no-such-file.gz"
    with pytest.raises(DataError) as caught:
        idx(debian, debian)
    hint = "get it on Debian or Ubuntu with: apt-get install dataset-fashion-mnist"
    assert str(caught.value) == f"{debian}: no such file; {hint}"
    with pytest.raises(DataError) as caught:
        idx("data/images.gz", "data/labels.gz")
    hint = "download the four IDX files of MNIST or Fashion-MNIST, packed or not, and give their paths as images and labels"
    assert str(caught.value) == f"data/images.gz: no such file; {hint}"
    with pytest.raises(DataError, match="is a folder, not a file"):
        idx(str(tmp_path), str(tmp_path))
