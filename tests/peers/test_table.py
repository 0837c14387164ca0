"""The table in docs/choosing.md: with the settings of a row, our average is that of the package which the row names.

recorded.json holds theirs, as record.py ran them: a weight [5] that begins at 1 and is moved by `by` at each of ten steps.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml
from support.moving import Moving

from ppema.averaging.decay import Exponential, HalfLife, InverseGamma, PowerFunction
from ppema.averaging.power import gamma_of
from ppema.config.horizon import Horizon
from ppema.config.sections.average_spec import AverageSpec
from ppema.ema.exponential_moving_average import ExponentialMovingAverage
from ppema.passes.ema import UpdatePass
from ppema.passes.target import TrainProgram, apply_passes
from ppema.programs.averages import average_passes

RECORDED = json.loads((Path(__file__).parent / "recorded.json").read_text(encoding="utf-8"))
PEERS = RECORDED["peers"]
CHOOSING = (Path(__file__).parents[2] / "docs/choosing.md").read_text(encoding="utf-8")
ROWS = {name.replace("`", ""): settings for name, settings in re.findall(r"^\| (\w+: `.+?) \| `(\{.*?\})` \|$", CHOOSING, re.M)}
HORIZON = Horizon(steps_per_epoch=10, batch_size=1, epochs=1)


def averages_of(program: Moving, shadow: str) -> np.ndarray:
    """[steps, 5]: the average after each step of the recorded course."""
    program.start()
    found = []
    for by in RECORDED["by"]:
        program.step(by)
        found.append(program.get(shadow))
    return np.array(found)


def ours(text: str) -> np.ndarray:
    spec, program = AverageSpec.model_validate(yaml.safe_load(text)), Moving("float32")
    program.move()
    target = TrainProgram(program.main, program.startup)
    with program.guard():
        added, switches = average_passes({"ema": spec}, HORIZON, {})
        apply_passes(target, [*added, UpdatePass(), *switches])
    return averages_of(program, target.averages["ema"].shadow_of["w"])


def test_every_row_was_recorded_and_every_record_has_its_row():
    assert ROWS.keys() == PEERS.keys()


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.usefixtures("kernels")
def test_with_these_settings_it_is_theirs(peer):
    theirs = np.array(PEERS[peer]["averages"])
    assert np.abs(ours(ROWS[peer]) - theirs).max() <= 2e-6 * np.abs(theirs).max()


def test_the_settings_are_not_all_one():
    """What the bound above would not notice: each two records that differ do so by far more."""
    courses = [np.array(each["averages"]) for each in PEERS.values()]
    apart = [np.abs(a - b).max() for a in courses for b in courses]
    assert all(each <= 2e-6 or each > 0.05 for each in apart) and max(apart) > 1


CLASS = re.findall(r"^\| `(\{.*?\})`.* \| `(ExponentialMovingAverage\(.*\))` \|$", CHOOSING, re.MULTILINE)
KNOWN = {
    each.__name__: each for each in (ExponentialMovingAverage, InverseGamma, Exponential, HalfLife, PowerFunction, gamma_of)
}


@pytest.mark.parametrize(("config", "line"), CLASS, ids=[config for config, _ in CLASS])
@pytest.mark.usefixtures("kernels")
def test_the_class_with_the_arguments_of_a_row_is_the_average_of_its_config(config, line):
    program = Moving("float32")
    program.move()
    with program.guard():
        paddle.optimizer.SGD(0.0).minimize(program.outer.sum())
        ema = eval(line, dict(KNOWN))
        ema.update()
    found, expected = averages_of(program, ema.average_name("w")), ours(config)
    assert np.abs(found - expected).max() <= 2e-6 * np.abs(expected).max()


def test_the_rows_of_the_class_have_every_length_and_growth():
    assert len(CLASS) == 13
    keys = {key for config, _ in CLASS for key in yaml.safe_load(config)}
    same_name = {"precision", "include", "exclude", "batch_norm", "recalibrate_batches"}
    of_runs = {"sharded"}  # a program of one's own has no ranks
    assert keys | same_name | of_runs == set(AverageSpec.model_fields)
