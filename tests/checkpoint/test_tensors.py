"""Files of arrays: written files equal those of the format's own library, and crafted files are refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from ppema.checkpoint.tensors import Image, Record, read_arrays
from ppema.errors import CheckpointError

TYPES = ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "uint32", "uint64", "bool")
ARRAYS = {f"{name}/é": np.arange(6).reshape(2, 3).astype(name) for name in TYPES}
ARRAYS |= {"scalar": np.array(3.5, "float32"), "empty": np.zeros((0, 3), "float32")}


def content(image):
    return image.header + image.data.tobytes()


def test_it_is_byte_for_byte_what_the_library_writes():
    assert content(Image.of(ARRAYS)) == save(ARRAYS)
    assert content(Image.of(ARRAYS, {"what": "x"})) == save(ARRAYS, {"what": "x"})
    assert content(Image.of({})) == save({})


def test_what_is_copied_into_an_image_is_in_the_file(tmp_path):
    image = Image.of(ARRAYS)
    for view in image.views.values():
        view[...] = 1
    (tmp_path / "a.safetensors").write_bytes(content(image))
    read = read_arrays(tmp_path / "a.safetensors", image.record())
    assert {name: (array.dtype, array.shape) for name, array in read.items()} == {
        name: (array.dtype, array.shape) for name, array in ARRAYS.items()
    }
    assert all((array == 1).all() for array in read.values())


@pytest.mark.parametrize("name", ["__metadata__", "", ".", "/etc/passwd", "../x", "a/../../x", "a\\..\\x", "a\0b", "a\nb"])
def test_a_name_that_is_no_variables_is_neither_written_nor_read(tmp_path, name):
    with pytest.raises(ValueError, match="can be no variable's name"):
        Image.of({name: np.zeros(1)})
    if name == "__metadata__":
        return
    file = tmp_path / "a.safetensors"
    file.write_bytes(save({name: np.zeros(1)}))
    with pytest.raises(CheckpointError, match=r"a.safetensors: damaged: '.*' can be no variable's name"):
        read_arrays(file)


def test_bfloat16_is_written_and_read_as_the_formats_own(tmp_path):
    image = Image.of({"w": np.array([1, -2], "bfloat16"), "x": np.array([3], "float32")})
    header = b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":{"dtype":"BF16","shape":[2],"data_offsets":[4,8]}}'
    assert image.header[8:].rstrip() == header
    assert image.data.tobytes() == b"\x00\x00\x40\x40\x80\x3f\x00\xc0"
    (tmp_path / "a.safetensors").write_bytes(image.header + image.data.tobytes())
    read = read_arrays(tmp_path / "a.safetensors")
    assert read["w"].dtype == "bfloat16" and read["w"].tolist() == [1, -2]


def test_types_that_the_format_lacks_are_named():
    with pytest.raises(ValueError, match="c is complex128, which a checkpoint can not hold"):
        Image.of({"c": np.zeros(1, "complex128")})


def crafted(header, data=b"\0" * 8, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(begin, end, shape=(1,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


CRAFTED = {
    "empty": b"",
    "cut in its length": b"\1\0\0",
    "a huge header": crafted({"a": entry(0, 4)}, length=2**63),
    "a header longer than the file": crafted({"a": entry(0, 4)}, length=10_000),
    "a header of 100 MB": crafted({"a": entry(0, 4)}, length=100_000_001),
    "no json": crafted(b"\xff\xfe{}"),
    "deep": crafted(b"[" * 100_000),
    "a list": crafted([]),
    "overlapping": crafted({"a": entry(0, 8, (2,)), "b": entry(4, 8)}),
    "the same bytes twice": crafted({"a": entry(0, 4), "b": entry(0, 4)}, b"\0" * 4),
    "a hole": crafted({"a": entry(4, 8)}),
    "beyond the end": crafted({"a": entry(0, 2**40, (2**38,))}),
    "backwards": crafted({"a": entry(8, 0)}),
    "negative": crafted({"a": entry(-4, 4, (2,))}),
    "a shape that overflows": crafted({"a": entry(0, 8, (2**62, 8))}),
    "a shape that does not match": crafted({"a": entry(0, 8, (3,))}),
    "an unknown type": crafted({"a": entry(0, 8, (1,), "X64")}),
    "data left over": crafted({"a": entry(0, 4)}, b"\0" * 64),
    "a pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
}


@pytest.mark.parametrize("text", CRAFTED.values(), ids=CRAFTED)
def test_a_crafted_file_is_refused_in_one_line(tmp_path, text):
    file = tmp_path / "a.safetensors"
    file.write_bytes(text)
    with pytest.raises(CheckpointError, match=r"a\.safetensors: damaged: ") as caught:
        read_arrays(file)
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_that_is_not_what_was_written_is_refused(tmp_path):
    file, image = tmp_path / "a.safetensors", Image.of(ARRAYS)
    file.write_bytes(content(image))
    record = image.record()
    assert read_arrays(file, record).keys() == ARRAYS.keys()
    changed = bytearray(content(image))
    changed[-5] ^= 1
    file.write_bytes(changed)
    with pytest.raises(CheckpointError, match="a.safetensors: damaged: its checksum is not that of what was written"):
        read_arrays(file, record)
    with pytest.raises(CheckpointError, match=rf"damaged: it has {record.size} bytes, and 7 were written"):
        read_arrays(file, Record(size=7, xxh3_128=record.xxh3_128))


def test_what_is_no_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="absent: No such file or directory"):
        read_arrays(tmp_path / "absent")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(CheckpointError, match="fifo: it is no regular file"):
        read_arrays(tmp_path / "fifo")


def test_more_dimensions_than_numpy_knows_are_refused(tmp_path):
    header = json.dumps({"w": {"dtype": "F32", "shape": [1] * 70, "data_offsets": [0, 4]}}).encode()
    file = tmp_path / "deep.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(CheckpointError, match=f"^{file}: w: ValueError: .*70"):
        read_arrays(file)


def test_a_name_that_no_file_has_is_refused():
    with pytest.raises(CheckpointError, match="it can be no file's name$"):
        read_arrays(Path("a\0b.safetensors"))
