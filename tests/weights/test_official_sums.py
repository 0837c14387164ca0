"""Averages of Paddle 2's own class, computed from files by hand: what can be given, and what is missing or makes no sense."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from ppema.errors import CheckpointError
from ppema.weights.official import read_official

SUMS = {"fc_0.w_0_ema_0": np.ones((2, 2), "float32"), "fc_0.b_0_ema_0": np.ones(2, "float32")}
WEIGHTS = {"fc_0.w_0": np.zeros((2, 2), "float32"), "fc_0.b_0": np.ones(2, "float32")}
COUNTER, DECAY = {"@EMA_STEP_COUNTER@": np.array([80])}, {"scheduled_ema_decay_rate": np.array([0.99], "float32")}


def written(folder: Path, others: dict, weights: dict = WEIGHTS) -> Path:
    for suffix, arrays in (("pdparams", weights), ("pdopt", others)):
        (folder / f"x.{suffix}").write_bytes(pickle.dumps(arrays))
    return folder / "x"


@pytest.mark.parametrize(
    ("others", "keys", "said"),
    [
        (
            COUNTER | DECAY,
            {},
            "no averages of paddle.static.ExponentialMovingAverage are in it: no variable is called '<parameter>_ema_0', such "
            "as 'fc_0.b_0_ema_0'",
        ),
        (SUMS | DECAY, {}, "it lacks @EMA_STEP_COUNTER@, the number of updates, which the averages depend on: give updates"),
        (SUMS | COUNTER, {}, "it lacks scheduled_ema_decay_rate, the decay, which the averages depend on: give decay"),
        (SUMS | DECAY | {"@EMA_STEP_COUNTER@": np.array([0])}, {}, "after 0 updates there are no averages yet"),
        (SUMS | DECAY, {"updates": -1}, "after -1 updates there are no averages yet"),
        (SUMS | COUNTER, {"decay": 1.0}, "its decay is 1; expected a number in [0, 1)"),
        (SUMS | COUNTER, {"decay": float("nan")}, "its decay is nan; expected a number in [0, 1)"),
        (SUMS | COUNTER | DECAY, {"updates": 81}, "updates is 81, and @EMA_STEP_COUNTER@ in it is 80: leave updates out"),
        (
            SUMS | COUNTER | DECAY,
            {"decay": 0.999},
            "decay is 0.999, and scheduled_ema_decay_rate in it is 0.99, that of the last update: the averages of a "
            "varying decay can not be corrected",
        ),
        (
            SUMS | COUNTER | {"scheduled_ema_decay_rate": np.array([0.9], "float32")},
            {},
            "its decay, 0.9, is that of thres_steps after 80 updates, and the averages of a varying decay can not be "
            "corrected; if it was constant, give decay 0.9",
        ),
        (SUMS | DECAY | {"@EMA_STEP_COUNTER@": np.array([1, 2])}, {}, "@EMA_STEP_COUNTER@ has 2 elements in place of one"),
        (SUMS | COUNTER | DECAY | {"conv_ema_0": np.ones(2)}, {}, "'conv_ema_0' is the average of no variable in it"),
        (
            SUMS | COUNTER | DECAY | {"fc_0.b_0_ema_0": np.ones(3)},
            {},
            "'fc_0.b_0_ema_0' and 'fc_0.b_0' are of different shapes, [3] and [2]",
        ),
        (
            SUMS | COUNTER | DECAY | {"fc_0.b_0_ema_1": np.zeros(2)},
            {},
            "'fc_0.b_0_ema_0' and 'fc_0.b_0_ema_1' are two averages of one variable, and differ",
        ),
    ],
)
def test_what_is_missing_or_makes_no_sense(tmp_path, others, keys, said):
    path = written(tmp_path, others)
    with pytest.raises(CheckpointError) as caught:
        read_official(path, **keys)
    assert str(caught.value) == f"{path}: {said}"


def test_what_the_file_lacks_can_be_given(tmp_path):
    """A decay that the file lacks, and one of 0.9 after 80 updates, which `decay` confirms as constant."""
    both = read_official(written(tmp_path, SUMS), decay=0.99, updates=80)
    assert both.averages["fc_0.b_0"] == pytest.approx([1 / (1 - 0.99**80)] * 2, rel=1e-6)
    found = read_official(written(tmp_path, SUMS | COUNTER | {"scheduled_ema_decay_rate": np.array([0.9])}), decay=0.9)
    assert found.averages["fc_0.b_0"] == pytest.approx([1 / (1 - 0.9**80)] * 2, rel=1e-6)
    # After 1,000 updates, 0.99^1000 is negligible beside 1, so an earlier, smaller decay does not matter.
    assert (
        read_official(written(tmp_path, SUMS | {**COUNTER, "@EMA_STEP_COUNTER@": np.array([891])}), decay=0.99).updates == 891
    )


def test_weights_without_an_average_stay_what_they_are(tmp_path):
    """A weight with ParamAttr(do_model_average=False). In a folder, names distinguish optimizer states from weights."""
    more = {"emb": np.ones(3, "float32"), "emb_2": np.ones(4, "float32"), "half": np.ones(2, "float16")}
    found = read_official(written(tmp_path, SUMS | COUNTER | DECAY | {"half_ema_0": np.ones(2, "float16")}, WEIGHTS | more))
    assert [name for name in found.raw if not np.array_equal(found.raw[name], found.averages[name])] == [*WEIGHTS, "half"]
    assert found.averages["emb_2"].tolist() == [1] * 4
    assert found.averages["half"].dtype == np.float16
    assert found.averages["half"] == pytest.approx(np.full(2, 1 / (1 - 0.99**80)), rel=1e-3)
