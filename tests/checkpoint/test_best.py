"""Whether more or less of a metric is better: by its name, or by `train.mode`."""

from __future__ import annotations

import pytest

from ppema.checkpoint.best import FigureNames, has_direction, less_is_better, mode_of, undirected
from ppema.metrics import METRICS


def test_the_names_of_all_metrics_of_ppema_have_a_direction():
    assert [name for name in METRICS if not has_direction(name)] == ["confusion_matrix"]
    assert [name for name in ("my_accuracy", "word_error", "sq_dist", "score") if not has_direction(name)] == [
        "sq_dist",
        "score",
    ]
    assert not less_is_better("my_accuracy")


@pytest.mark.parametrize(
    ("metric", "monitors", "mode", "found"),
    [
        ("loss", ["raw/loss"], "max", "max"),
        ("sq_dist", ["raw/sq_dist"], "min", "min"),
        ("loss", ["raw/loss", "ema/score"], "max", None),
        ("score", ["raw/loss", "ema/score"], "max", "max"),
        ("accuracy", ["raw/loss", "ema/accuracy"], "min", "min"),
        ("sq_dist", ["raw/accuracy"], "max", None),
        ("sq_dist", [], "min", "min"),
        ("accuracy", [], "min", None),
    ],
)
def test_the_mode_of_a_list_is_that_of_metrics_without_a_direction(metric, monitors, mode, found):
    assert mode_of(metric, monitors, mode) == found


def test_metrics_without_a_direction():
    monitors = ["raw/loss", "raw/sq_dist", "ema/sq_dist", "ema/score"]
    assert undirected(monitors, None) == ["sq_dist", "score"]
    assert undirected(monitors, "min") == []


def test_the_direction_of_parts_is_that_of_their_metric():
    """A class may be called "error"; a part gives the direction only of a metric without one."""
    least = ("loss.dice", "perplexity", "rmse", "dice_loss", "scores.rmse")
    most = ("f1.error", "f1.2", "auc", "mean_iou", "r2", "scores.f1", "top_k", "average_precision")
    assert all(less_is_better(name) for name in least)
    assert all(has_direction(name) and not less_is_better(name) for name in most)
    assert not any(map(has_direction, ("sauce", "curious", "f12", "confusion")))


@pytest.mark.parametrize(
    ("metric", "fault"),
    [
        ("f1.a", ""),
        ("f1", "'f1' is several numbers; choose one of f1.a, f1.b"),
        ("pairs", "'pairs' is an array, not a number; numbers are loss, f1.a, f1.b, f10"),
        ("f2", "'f2' is not measured; measured are loss, f1.a, f1.b, f10"),
    ],
)
def test_what_can_not_be_monitored(metric, fault):
    assert FigureNames(["loss", "f1.a", "f1.b", "f10"], ["pairs"]).fault(metric) == fault
