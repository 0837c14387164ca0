"""CSV files: the values that are read, and the place that each error names."""

import gzip

import numpy as np
import pytest

from ppema.data.fields import Field
from ppema.data.sets.csv_table import csv
from ppema.errors import DataError


@pytest.fixture
def write(tmp_path):
    def write(text, name="data.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


def test_values(write):
    dataset = csv(write("\ufeffage, class,height\r\n1,0,0.5\r\n\r\n2,1,1e-1\r\n"), "class")
    assert dataset.fields == (Field((2,), "float32", "input_0"), Field((), "int64", "target", is_target=True))
    np.testing.assert_array_equal(dataset.arrays[0], np.array([[1, 0.5], [2, 0.1]], np.float32))
    assert dataset.arrays[1].tolist() == [0, 1]


@pytest.mark.parametrize(("target", "targets", "inputs"), [(0, [1, 4], [[2, 3], [5, 6]]), (-1, [3, 6], [[1, 2], [4, 5]])])
def test_numbered_columns_without_a_header(write, target, targets, inputs):
    dataset = csv(write("1;2;3\n4;5;6\n"), target, header=False, delimiter=";")
    assert dataset.arrays[1].tolist() == targets
    assert dataset.arrays[0].tolist() == inputs


def test_float_targets_and_gzip(write):
    dataset = csv(write(gzip.compress(b"x,y\n1,0.25\n")), "y", target_dtype="float32")
    assert dataset.fields[1] == Field((), "float32", "target", is_target=True)
    assert dataset.arrays[1].tolist() == [0.25]


def refusal(path, target, **options):
    with pytest.raises(DataError) as caught:
        csv(path, target, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(path)
    return text.removeprefix(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,y\n1,2\nx,3\n", ":3:1: 'a': not a number: 'x'"),
        ('a,y\n"\033[2J\n1",2\n', ":3:1: 'a': not a number: '?[2J?1'"),
        (f"a,y\n{'x' * 200},2\n", f":2:1: 'a': not a number: '{'x' * 80}...'"),
        ("\033[2J,y\nx,2\n", ":2:1: '?[2J': not a number: 'x'"),
        ("\033[2J,b\n1,2\n", ":1: no column 'y'; known: ?[2J, b"),
        ("a,y\n\n\n1,\n", ":4:2: 'y': no value"),
        ("a,y\n1_000,2\n", ":2:1: 'a': not a number: '1_000'"),
        ("a,y\nnan,2\n", ":2:1: 'a': not a finite number: 'nan'"),
        ("a,y\n1,2\n1,-inf\n", ":3:2: 'y': not a finite number: '-inf'"),
        ("a,y\n1e39,2\n", ":2:1: 'a': beyond the range of float32: '1e39'"),
        ("a,y\n1,2.5\n", ":2:2: 'y': not an integer: '2.5'; for other targets set target_dtype: float32"),
        ("a,y\n1,1e30\n", ":2:2: 'y': not an integer: '1e30'; for other targets set target_dtype: float32"),
        ("a,y\n1,2\n3\n", ":3:1: expected 2 fields, got 1"),
        ("a,y\n1,2,3\n", ":2:2: expected 2 fields, got 3"),
        ("a,bcd\n1,2\n", ":1: no column 'y'; known: a, bcd"),
        ("a,Y\n1,2\n", ":1: no column 'y'; did you mean 'Y'?"),
        ("y,y\n1,2\n", ":1: 2 columns are named 'y'"),
        ("y\n1\n", ": a single column; expected inputs and a target (is the delimiter ','?)"),
        ("", ": the file is empty"),
        ("\n\n", ": the file is empty"),
        ("a,y\n", ": the data set is empty: there is no row after the header"),
        (b"a,y\n\xff,2\n", ": not UTF-8 text: UnicodeDecodeError: "),
    ],
)
def test_faults(write, text, message):
    path = write(text)
    assert refusal(path, "y").startswith(message)


def test_faults_of_numbered_columns(write):
    path = write("a,b\n1,2\n")
    assert refusal(path, 2, header=False) == ": no column 2: there are 2, numbered from 0"
    assert refusal(path, -3) == ": no column -3: there are 2, numbered from 0"
    assert refusal(path, 0, header=False) == ":1:1: not a number: 'a'; if these are names, set header: true"
    named = ": target 'a' is a name, but with header: false columns have only numbers, from 0"
    assert refusal(path, "a", header=False) == named


def test_missing(tmp_path):
    assert refusal(str(tmp_path / "none.csv"), 0) == ": no such file"
