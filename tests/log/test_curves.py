"""The figure of a run's evaluations: its lines are those of the records."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from ppema.errors import DataError
from ppema.log.curves import draw_curves


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Draws records, and returns the axes of the written figure."""
    from matplotlib import pyplot

    close = pyplot.close

    def draw(*records, metric="loss"):
        (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
        monkeypatch.setattr(pyplot, "close", lambda made: None)
        draw_curves(tmp_path, metric, tmp_path / "curves.png")
        assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
        return pyplot.gca()

    yield draw
    close("all")


def evaluation(epoch, loss, weights="raw"):
    return {"kind": "eval", "step": int(10 * epoch), "epoch": epoch, "weights": weights, "loss": loss}


def test_a_line_for_each_set_of_weights_with_a_gap_where_a_measure_was_not_finite(drawn):
    pairs = [(evaluation(epoch, loss), evaluation(epoch, loss and loss / 2, "ema")) for epoch, loss in FIGURES]
    axes = drawn({"kind": "train", "step": 1, "epoch": 0.1, "loss": 9.0, "lr": 0.1, "decay": {}}, *sum(pairs, ()))
    assert [line.get_label() for line in axes.lines] == ["raw", "ema"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "loss")
    for line, factor in zip(axes.lines, (1.0, 0.5), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), [1.0, 2.0, 3.0])
        np.testing.assert_array_equal(line.get_ydata(), [4.0 * factor, math.nan, 2.0 * factor])


FIGURES = [(1.0, 4.0), (2.0, None), (3.0, 2.0)]


def test_the_first_evaluations_do_not_flatten_the_rest(drawn):
    """For 0, 1, …, 19 and 1000 the 5 % and 95 % quantiles are 1 and 19; the margin is a tenth of their difference."""
    axes = drawn(*(evaluation(float(epoch), float(loss)) for epoch, loss in enumerate([1000, *range(19, -1, -1)])))
    assert axes.get_ylim() == pytest.approx((1 - 1.8, 19 + 1.8))


def test_a_figure_of_nothing_finite_is_one(drawn):
    assert np.isnan(drawn(evaluation(1.0, None)).lines[0].get_ydata()).all()


def test_what_was_not_measured_is_named(drawn, tmp_path):
    with pytest.raises(DataError, match=f"^{tmp_path}/metrics.jsonl: 'f1' is not measured; measured are loss$"):
        drawn(evaluation(1.0, 0.5), metric="f1")
    with pytest.raises(DataError, match="metrics.jsonl: it holds no evaluation: train first"):
        drawn()


def test_a_file_that_can_not_be_written_is_one_line(drawn, tmp_path):
    drawn(evaluation(1.0, 0.5))
    with pytest.raises(DataError, match="none/curves.png: the figure could not be written: "):
        draw_curves(tmp_path, "loss", tmp_path / "none/curves.png")
