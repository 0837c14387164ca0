"""Inputs in CSV tables: the columns of training, with or without the target."""

from __future__ import annotations

import re

import numpy as np
import pytest

from ppema.data import Field
from ppema.data.given.csv_inputs import CsvForm, CsvInputs
from ppema.data.given.preparation import Preparation
from ppema.data.inputs import BatchTurns
from ppema.errors import DataError

HOW = Preparation((Field((2,), "float32", "input_0"),))
FORM = CsvForm(target="price")


def write(tmp_path, text, name="a.csv"):
    (tmp_path / name).write_text(text)
    return str(tmp_path / name)


def read(path, form=FORM, how=HOW):
    return [
        (batch.names, *map(np.ndarray.tolist, batch.arrays)) for batch in CsvInputs(path, how, form).batches(2, BatchTurns())
    ]


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("a,b\n1,2\n3,4\n\n5,6\n", FORM),
        ("a,price,b\n1,x,2\n3,,4\n\n5,0,6\n", FORM),
        ("a,b,cheap\n1,2,0\n3,4,0\n\n5,6,0\n", CsvForm(target=-1)),
        ("first,second\n1,2\n3,4\n\n5,6\n", CsvForm(target=-1)),
    ],
)
def test_the_target_is_ignored_if_it_is_there(tmp_path, text, form):
    path = write(tmp_path, text)
    assert read(path, form) == [((f"{path}:2", f"{path}:3"), [[1, 2], [3, 4]]), ((f"{path}:5",), [[5, 6]])]


def test_a_table_without_header(tmp_path):
    path = write(tmp_path, "1;2\n3;4\n")
    assert read(path, CsvForm(header=False, delimiter=";", target=0)) == [((f"{path}:1", f"{path}:2"), [[1, 2], [3, 4]])]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ": the file is empty"),
        ("a,b\n", ": there is no row after the header"),
        ("a,b,c\n1,2,3\n", ": 3 columns, the model takes 2"),
        ("a,price\n1,2\n", ": 1 columns besides the target 'price', the model takes 2"),
        ("a,b\n1,2\n3,x\n", ":3:2: not a number: 'x'"),
        ("price,a,b\n1,2,y\n", ":2:3: not a number: 'y'"),
        ("a,b\n1,nan\n", ":2:2: not a finite number: 'nan'"),
        ("a,b\n1,2,3\n", ":2:2: expected 2 fields, got 3"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_place(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(DataError) as raised:
        read(path)
    assert str(raised.value) == path + message


def test_columns_in_another_order_than_the_training_table_are_refused(tmp_path):
    trained = write(tmp_path, "a,price,b\n1,2,3\n", "trained.csv")
    form = FORM.with_columns_of(trained)
    assert form.columns == ("a", "b")
    assert CsvForm(target=-1).with_columns_of(trained).columns == ("a", "price")
    path = write(tmp_path, "b,a\n1,2\n")
    with pytest.raises(DataError, match=re.escape(f"{path}: input column 1 is 'b', that of the training table is 'a'")):
        read(path, form)
    assert FORM.with_columns_of(str(tmp_path / "gone.csv")) == FORM


def test_bad_rows_are_left_out_and_named(tmp_path):
    path = write(tmp_path, "a,b\n1,x\n,\n3,4\n")
    batches = list(CsvInputs(path, Preparation(HOW.fields, on_error="skip"), FORM).batches(2, BatchTurns()))
    assert [batch.names for batch in batches] == [(), (f"{path}:4",)]
    assert batches[0].failed == ((f"{path}:2", "column 2: not a number: 'x'"), (f"{path}:3", "column 1: no value"))


def test_a_model_of_another_input_is_refused(tmp_path):
    path = write(tmp_path, "a,b\n1,2\n")
    with pytest.raises(DataError, match="the model takes words int64 \\[-1\\]: give an .npz archive"):
        read(path, how=Preparation((Field((-1,), "int64", "words"),)))
