"""The table of a search: its JSON, and its records in VisualDL."""

from __future__ import annotations

import errno
import json
import math

import numpy as np
import pytest
from visualdl import LogReader

from ppema.errors import TrainingError
from ppema.posthoc.candidates import Row
from ppema.posthoc.report import Report, write_report

ROWS = [
    Row("σ_rel 0.05", 0.05, {"loss": 0.5, "accuracy": 0.75}, 0.25, 3),
    Row("σ_rel 0.1", 0.1, {"loss": math.nan, "accuracy": 0.5}, math.inf, 3),
    Row("σ_rel 0.2887", 0.2887, {"loss": 0.25, "accuracy": 0.875}, 0.0, 3),
]


def points(folder, tag):
    (file,) = folder.glob("*.log")
    return [(point.id, point.value) for point in LogReader(file_path=str(file)).get_data("scalar", tag)]


def test_the_table_and_its_figure(tmp_path):
    """VisualDL's axis counts ten-thousandths of σ_rel."""
    report = Report("search", "sigma_rel", 120, "accuracy", ROWS, ROWS[2])
    for _ in range(2):  # the second takes the place of the first
        write_report(tmp_path / "new/averages", report)
    written = json.loads((tmp_path / "new/averages/search.json").read_text(), parse_constant=lambda name: 1 / 0)
    assert written["best"] == {
        "name": "σ_rel 0.2887",
        "length": 0.2887,
        "metrics": {"loss": 0.25, "accuracy": 0.875},
        "error": 0.0,
        "parts": 3,
    }
    assert [(row["metrics"]["loss"], row["error"]) for row in written["rows"]] == [(0.5, 0.25), (None, None), (0.25, 0.0)]
    assert (written["name"], written["kind"], written["step"], written["metric"]) == ("search", "sigma_rel", 120, "accuracy")
    assert (tmp_path / "new/averages/search.png").read_bytes().startswith(b"\x89PNG")
    assert points(tmp_path / "new/averages/vdl/search", "accuracy") == [(500, 0.75), (1000, 0.5), (2887, 0.875)]
    losses = points(tmp_path / "new/averages/vdl/search", "loss")
    assert [step for step, _ in losses] == [500, 1000, 2887] and np.isnan(losses[1][1])
    (file,) = (tmp_path / "new/averages/vdl/search").iterdir()
    (drawn,) = LogReader(file_path=str(file)).get_data("image", "accuracy by length")
    assert drawn.id == 120 and drawn.image.encoded_image_string.startswith(b"\x89PNG")


def test_half_lives_are_drawn_by_steps_also_where_none_is_the_best(tmp_path):
    rows = [Row(f"half-life {length}", length, {"loss": math.nan}, None, 2) for length in (10.0, 40.4)]
    write_report(tmp_path, Report("search", "half_life", 50, "loss", rows, None))
    assert [step for step, _ in points(tmp_path / "vdl/search", "loss")] == [10, 40]


@pytest.mark.parametrize(("kind", "rows"), [("sigma_rel", ROWS[:1]), (None, ROWS)], ids=["one length", "no lengths"])
def test_what_has_no_axis_is_a_table_alone(tmp_path, kind, rows):
    write_report(tmp_path, Report("mean", kind, 120, "accuracy", rows, rows[0]))
    assert [path.name for path in tmp_path.iterdir()] == ["mean.json"]


def test_a_disk_that_is_full_by_then_is_one_line(tmp_path, monkeypatch):
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    with pytest.raises(TrainingError, match=f"^{tmp_path}: the table could not be written: .*No space left"):
        write_report(tmp_path, Report("search", "sigma_rel", 120, "accuracy", ROWS, ROWS[2]))


def test_a_folder_that_can_not_be_written_is_one_line(tmp_path):
    (tmp_path / "averages").write_text("")
    with pytest.raises(TrainingError, match=f"^{tmp_path}/averages: the table could not be written: .*File exists"):
        write_report(tmp_path / "averages", Report("x", None, 1, "loss", ROWS, None))
