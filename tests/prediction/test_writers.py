"""Tables, JSON lines, CSV files and archives of predictions."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from ppema.errors import PpemaError
from ppema.losses import Scores
from ppema.prediction.destination import format_of, in_file, partial_of
from ppema.prediction.predicted import OutputForm, PredictedBatch
from ppema.prediction.writers import CsvLines, JsonLines, TableLines

ANIMALS = OutputForm("kind", Scores("none", -1), ("cat", "dog", "bird"))
SHARES = np.array([[0.125, 0.5, 0.375], [1.0, 0.0, 0.0]], np.float32)


def batch(outputs=None, forms=(ANIMALS,), names=("a.png", "bb.png")):
    return PredictedBatch(names, outputs or {"kind": SHARES}, list(forms))


def written(writer, made, *args):
    stream = io.StringIO()
    writer(stream, *args).write(made)
    return stream.getvalue().splitlines()


def test_a_table_is_aligned_and_cut_to_the_terminal():
    assert written(TableLines, batch(), 2) == [
        "name    class  probability  class_2  probability_2",
        "a.png   dog         0.5000  bird            0.3750",
        "bb.png  cat         1.0000  dog             0.0000",
    ]
    long = batch(names=("folder/" * 20 + "1.png", "2.png"))
    assert written(TableLines, long, 1, 40) == [
        "name                  class  probability",
        "…folder/folder/1.png  dog         0.5000",
        "2.png                 cat         1.0000",
    ]
    with pytest.raises(PpemaError, match="5 columns need 52 characters, the terminal has 40: format jsonl or csv"):
        written(TableLines, batch(names=("folder/1.png", "2")), 2, 40)


@pytest.mark.parametrize(("width", "shown"), [(None, "a name that is longer"), (40, "…name that is longer")])
def test_a_longer_name_of_a_later_batch_widens_its_column(width, shown):
    stream = io.StringIO()
    table = TableLines(stream, 1, width)
    for names in (("a", "b"), ("a name that is longer", "b\x1b[2J"), ("c", "d")):
        table.write(batch(names=names))
    lines = stream.getvalue().splitlines()
    assert lines[:3] == ["name  class  probability", "a     dog         0.5000", "b     cat         1.0000"]
    assert lines[3].startswith(f"{shown}  dog  ")
    assert {line.index(number) for line, number in zip(lines[3:], ["0.5000", "1.0000"] * 2, strict=True)} == {len(shown) + 14}
    assert "\x1b" not in stream.getvalue() and max(map(len, lines)) <= (width or 80)


def test_lines_of_json_have_all_probabilities_and_nothing_that_json_lacks():
    lines = [json.loads(line) for line in written(JsonLines, batch(), 2)]
    assert lines[0] == {
        "name": "a.png",
        "class": "dog",
        "label": 1,
        "probability": 0.5,
        "probabilities": [0.125, 0.5, 0.375],
        "top": [{"class": "dog", "label": 1, "probability": 0.5}, {"class": "bird", "label": 2, "probability": 0.375}],
    }
    numbers = np.array([[0.1, np.nan], [np.inf, 1e-30]], np.float32)
    forms = [OutputForm("score"), OutputForm("yes", Scores("sigmoid", None)), OutputForm("mask", Scores("softmax", -3))]
    outputs = {"score": numbers, "yes": np.zeros((2, 1), "float32"), "mask": np.eye(3)[:2, :, None, None] * np.ones((2, 2))}
    first, second = (json.loads(line) for line in written(JsonLines, batch(outputs, forms, ("é\n", "\udcff"))))
    assert first == {"name": "é\n", "score": [0.100000001, None], "yes.probability": 0.5, "mask.labels": [[0, 0], [0, 0]]}
    assert second["score"] == [None, 1e-30] and second["mask.labels"] == [[1, 1], [1, 1]]


def test_float32_numbers_survive_json_and_csv():
    values = np.random.default_rng(0).random((50, 3), dtype=np.float32) * np.float32(1e-5)
    made = batch({"kind": values}, [OutputForm("kind")], tuple(map(str, range(50))))
    found = [json.loads(line)["kind"] for line in written(JsonLines, made)]
    np.testing.assert_array_equal(np.array(found, np.float32), values)
    rows = list(csv.reader(written(CsvLines, made)))
    assert rows[0] == ["name", "kind[0]", "kind[1]", "kind[2]"]
    np.testing.assert_array_equal(np.array([row[1:] for row in rows[1:]], np.float32), values)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_text_of_a_csv_file_is_a_formula(start):
    name = f'{start}HYPERLINK("http://x",",")'
    form = OutputForm("kind", Scores("none", -1), (name, "b", "c"))
    stream = io.StringIO(newline="")
    CsvLines(stream).write(batch(forms=[form], names=(name, "2")))
    rows = list(csv.reader(stream.getvalue().split("\n")[:-1]))
    assert [len(row) for row in rows] == [3, 3, 3]
    assert rows[1][0] == rows[2][1] == f"'{name}"


def test_outputs_that_are_no_columns_are_refused_in_a_line():
    masks = {"mask": np.zeros((2, 3, 4, 4), "float32")}
    for form in (OutputForm("mask", Scores("softmax", -3)), OutputForm("mask")):
        for writer in (TableLines, CsvLines):
            with pytest.raises(PpemaError, match=r"the output 'mask' has 48 numbers of shape \[3, 4, 4\] for a sample"):
                written(writer, batch(masks, [form]))
    with pytest.raises(PpemaError, match="top: 4 is more than the 3 classes of 'kind'"):
        written(TableLines, batch(), 4)


@pytest.mark.parametrize(("name", "kind"), [("name", "jsonl"), ("names", "npz")])
def test_an_output_with_the_name_of_another_column_is_refused(name, kind, tmp_path):
    forms = (OutputForm(name), OutputForm("size"))
    made = batch({each.name: np.zeros([2, 1], np.float32) for each in forms}, forms)
    with pytest.raises(PpemaError, match=f"an output {name!r}, and predictions have {name!r} for another purpose"):
        with in_file(tmp_path / f"x.{kind}", kind, 1) as writer:
            writer.write(made)
    assert not (tmp_path / f"x.{kind}").exists()


def test_an_archive_has_names_probabilities_and_maps_of_classes(tmp_path):
    forms = [ANIMALS, OutputForm("mask", Scores("softmax", -3)), OutputForm("size")]
    masks = np.random.default_rng(0).random((2, 300, 2, 2), dtype=np.float32)
    outputs = {"kind": SHARES, "mask": masks, "size": np.array([1.5, 2.5], np.float32)}
    with in_file(tmp_path / "out.npz", "npz", 1) as writer:
        for names in (("a", "ünd/\udcff"), ("c" * 30, "")):
            writer.write(batch(outputs, forms, names))
    with np.load(tmp_path / "out.npz") as found:
        assert found["names"].tolist() == ["a", "ünd/\udcff", "c" * 30, ""]
        np.testing.assert_array_equal(found["kind.probabilities"], np.tile(SHARES, (2, 1)))
        np.testing.assert_array_equal(found["mask.labels"][2:], masks.argmax(axis=1))
        assert found["mask.labels"].dtype == np.uint16 and found["kind.classes"].tolist() == ["cat", "dog", "bird"]
        assert found["kind.labels"].tolist() == [1, 0, 1, 0] and found["size"].tolist() == [1.5, 2.5] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["out.npz"]


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.npz"])
def test_a_file_appears_when_it_is_complete(tmp_path, name):
    to = tmp_path / name
    to.write_text("before")

    def interrupted():
        with in_file(to, format_of(str(to), None), 1) as writer:
            writer.write(batch())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert to.read_text() == "before"
    kept = [path.name for path in tmp_path.iterdir() if path != to]
    assert kept == ([] if name == "out.npz" else [f"{name}.partial"])
    if kept:
        lines = partial_of(to).read_text()
        assert lines.endswith("\n") and lines.count("a.png") == lines.count("bb.png") == 1


def test_two_processes_do_not_write_one_file(tmp_path):
    """Their rows would mix, and the file that appears would be neither's."""
    to = tmp_path / "out.jsonl"
    with in_file(to, "jsonl", 1) as writer:
        writer.write(batch())
        with pytest.raises(PpemaError, match="out.jsonl: another process is writing it: choose another name"):
            with in_file(to, "jsonl", 1):
                pass
        writer.write(batch())
    assert len(to.read_text().splitlines()) == 4
    assert [each.name for each in tmp_path.iterdir()] == ["out.jsonl"]
    with in_file(to, "jsonl", 1) as writer:
        writer.write(batch())
    assert len(to.read_text().splitlines()) == 2
