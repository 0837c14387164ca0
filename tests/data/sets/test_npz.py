"""NumPy archives: the values that are read, and every fault of a file."""

import io
import pickle
import zipfile

import numpy as np
import pytest

from ppema.data.fields import Field
from ppema.data.sets.npz import npz
from ppema.errors import DataError


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "data.npz")


def test_values(path):
    np.savez(path, a=np.array([[1, 2], [3, 4]], np.int32), b=np.array([0.5, 1.5]), labels=np.array([[1], [0]], bool))
    dataset = npz(path, ["b", "a"], ["labels"])
    assert dataset.fields == (
        Field((), "float32", "b"),
        Field((2,), "int64", "a"),
        Field((), "int64", "labels", is_target=True),
    )
    assert [array.tolist() for array in dataset.arrays] == [[0.5, 1.5], [[1, 2], [3, 4]], [1, 0]]


def refusal(path, inputs=("x",), targets=("y",)):
    with pytest.raises(DataError) as caught:
        npz(path, inputs, targets)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"{path}: ")
    return text.removeprefix(f"{path}: ")


def test_absent_arrays(path):
    np.savez(path, images=np.zeros(2), labels=np.zeros(2))
    assert refusal(path, ["image"], ["labels"]) == "no array 'image'; did you mean 'images'?"
    assert refusal(path, ["images"]) == "no array 'y'; known: images, labels"


def test_python_objects_are_not_unpickled(path):
    np.savez(path, x=np.array([{}, {}]), y=np.zeros(2))
    assert refusal(path) == "array 'x': ValueError: Object arrays cannot be loaded when allow_pickle=False"


def test_lengths_differ(path):
    np.savez(path, x=np.zeros((2, 2)), y=np.zeros(3))
    assert refusal(path) == "the numbers of samples differ: x 2, y 3"


def test_empty(path):
    np.savez(path, x=np.zeros((0, 2)), y=np.zeros(0))
    assert refusal(path) == "the data set is empty"


def test_uint8_images(path):
    np.savez(path, x=np.zeros((2, 2), np.uint8), y=np.zeros(2))
    assert refusal(path) == "x: dtype uint8: return images as float32 in [0, 1], or ids as int64"


def test_not_an_archive(path, tmp_path):
    assert refusal(str(tmp_path / "none.npz")) == "no such file"
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))
    assert refusal(path) == "a single array; expected an .npz archive with named arrays"
    with open(path, "wb") as file:
        file.write(b"PK\x03\x04 and then nothing")
    assert refusal(path).startswith("not an .npz archive: BadZipFile: ")
    with open(path, "wb") as file:
        file.write(b"x,y\n1,2\n")
    assert refusal(path) == "it is no .npz archive, which numpy.savez writes"
    with open(path, "wb") as file:
        pickle.dump({"x": [1]}, file)
    assert refusal(path) == "it is no .npz archive, which numpy.savez writes"
    with open(path, "wb") as file:
        pass
    assert refusal(path) == "not an .npz archive: EOFError: No data left in file"


def test_a_header_that_promises_too_much(path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2**50, 2)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", header.getvalue())
        archive.writestr("y.npy", header.getvalue())
    assert refusal(path).startswith("array 'x': ")
