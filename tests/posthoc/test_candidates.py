"""Candidates measured one by one: the best one, and those that cannot win."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import paddle
import pytest
from support.configs import CNN, blobs, data_section, loader

from ppema.errors import AverageError, CheckpointError, NotFiniteError
from ppema.evaluation.prepared import prepare_evaluation
from ppema.posthoc.candidates import Bench, Row, far_off
from ppema.posthoc.combine import Built

SHARES = np.array([3, 2, 2]) / 7
STATISTICS = {"batch_norm2d_0.w_1", "batch_norm2d_0.w_2"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    # Classes of 3, 2 and 2 samples.
    data = data_section(blobs("samples: 50, batch_size: 8"), blobs("samples: 7, batch_size: 4", "test"))
    made = prepare_evaluation(loader(tmp_path_factory.mktemp("bench"), CNN, data=data)())
    with paddle.static.scope_guard(made.scope):
        yield made
    made.close()


def biased(run, bias, *, error=0.0, left=frozenset()):
    """Weights that answer `bias` to every image."""
    arrays = run.read()
    arrays["linear_0.w_0"] = np.zeros_like(arrays["linear_0.w_0"])
    arrays["linear_0.b_0"] = np.array(bias, "float32")
    return Built(arrays, Path("snapshots"), f"answers {bias}", error, 2, frozenset(left))


def bench(run, said, *, metric="loss", less=True, batches=0, step=14):
    return Bench(run, step, metric=metric, less=less, batches=batches, say=said.append)


def test_what_is_measured_and_which_is_the_best(run):
    said = []
    made = bench(run, said)
    zero, right = biased(run, [0.0, 0.0, 0.0]), biased(run, np.log(SHARES).tolist())
    wrong, broken = biased(run, [9.0, 0.0, 0.0]), biased(run, [math.nan, 0.0, 0.0])
    named = [("zero", zero), ("right", right), ("wrong", wrong), ("broken", broken), ("zero again", zero)]
    for name, built in named:
        measured = made.measure(name, None, built)
        assert measured.what == built.what
        assert all(measured.arrays[each].tobytes() == array.tobytes() for each, array in built.arrays.items())
    assert [row.name for row in made.rows] == [name for name, _ in named]
    # The cross entropy of constant answers, by hand: log 3, and the entropy of the labels.
    by_hand = [math.log(3), -(SHARES * np.log(SHARES)).sum(), math.log(math.exp(9) + 2) - 9 * SHARES[0]]
    np.testing.assert_allclose([row.metrics["loss"] for row in made.rows[:3]], by_hand, rtol=1e-6)
    assert math.isnan(made.rows[3].metrics["loss"])
    assert made.best is not None and made.best.row.name == "right"
    assert said[0] == f"zero  loss {math.log(3):.4f}  accuracy {SHARES[0]:.4f}"


def test_of_equals_the_smaller_loss_is_the_best_and_then_the_first(run):
    """All of these candidates always predict class 0."""
    made = bench(run, [], metric="accuracy", less=False)
    for name, bias in [("sure", 5.0), ("less sure", 0.1), ("as sure", 0.1)]:
        made.measure(name, None, biased(run, [bias, 0.0, 0.0]))
    assert len({row.metrics["accuracy"] for row in made.rows}) == 1
    assert made.best is not None and made.best.row.name == "less sure"


def test_an_average_that_the_snapshots_can_not_make_is_shown_and_never_the_best(run):
    said = []
    made = bench(run, said)
    for error in (1.5, math.inf, math.nan):
        made.measure("far", 0.1, biased(run, np.log(SHARES).tolist(), error=error))
    assert made.best is None and len(made.rows) == 3
    assert said[0].endswith("  (profile error 1.50: the snapshots can not make this average)")
    made.measure("near", 0.2, biased(run, [9.0, 0.0, 0.0], error=1.0))
    assert made.best is not None and made.best.row.name == "near" and "profile error" not in said[-1]
    assert [far_off(error) for error in (None, 0.0, 1.0, 1.001, math.nan)] == [False, False, False, True, True]
    assert made.cost(Row("x", None, {"loss": 0.5}, None, 1)) == (0.5, 0.5)


def test_statistics_that_no_average_covers_have_to_be_measured(run):
    built = biased(run, [0.0, 0.0, 0.0], left=STATISTICS | {"other"})
    made = bench(run, [])
    with pytest.raises(CheckpointError, match=r"^snapshots: its averages do not cover BatchNorm's statistics, and the raw"):
        made.measure("x", None, built)
    assert made.rows == [] and made.replaced == set()
    measuring = bench(run, [], batches=6)
    try:
        assert measuring.replaced == STATISTICS
        measured = measuring.measure("x", None, built)
    finally:
        measuring.close()
    assert measured.what.endswith(", BatchNorm recalibrated on 6 batches")
    assert {name for name, array in measured.arrays.items() if array.tobytes() != built.arrays[name].tobytes()} == STATISTICS


def test_only_statistics_that_are_not_finite_make_a_candidate_without_figures(run, monkeypatch):
    made = bench(run, [], batches=1)
    for error in (NotFiniteError("x"), AverageError("batches must be of one size")):

        def failing(*given, error=error):
            raise error

        monkeypatch.setattr(made._recalibrator, "measure", failing)
        if isinstance(error, NotFiniteError):
            assert math.isnan(made.measure("x", None, biased(run, [0.0, 0.0, 0.0])).row.metrics["loss"])
        else:
            with pytest.raises(AverageError, match="of one size"):
                made.measure("x", None, biased(run, [0.0, 0.0, 0.0]))
    made.close()


def test_statistics_that_are_frozen_at_the_step_of_the_average_keep_their_values(tmp_path):
    """BatchNorm is frozen for 5 of 14 steps."""
    run = prepare_evaluation(loader(tmp_path, CNN)("groups=[{match: '^1[.]', frozen_for: 5 steps}]"))
    with paddle.static.scope_guard(run.scope):
        built = biased(run, [0.0, 0.0, 0.0], left=STATISTICS)
        for step, replaced in ((5, set()), (6, STATISTICS)):
            made = bench(run, [], batches=1, step=step)
            assert made.replaced == replaced
            measured = made.measure("x", None, built)
            made.close()
            changed = {name for name, array in measured.arrays.items() if array.tobytes() != built.arrays[name].tobytes()}
            assert changed == replaced
    run.close()
