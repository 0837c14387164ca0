"""Checkpoints that earlier versions wrote are resumed."""

from __future__ import annotations

import pytest
from saved_runs import written_again
from small_runs import COMPENSATED, content, last, loader

from ppema.api import evaluate
from ppema.errors import CheckpointError
from ppema.run.checkpoints import Checkpoints
from ppema.run.manifest import Manifest
from ppema.training import train


@pytest.fixture
def config(tmp_path):
    return loader(tmp_path)


def test_a_checkpoint_from_before_a_key_was_there_is_resumed_by_its_default(config, tmp_path):
    train(config("train.stop_after=3 steps"))
    saved = Checkpoints(tmp_path / "run/checkpoints").find("last")
    before = saved.manifest.config
    del before["averages"]["ema"]["precision"], before["train"]["snapshot_every"]
    written_again(Manifest, saved.path, config=before)
    said = "averages.ema.precision: was 'float32', now 'compensated'"
    with pytest.raises(CheckpointError, match=said):
        train(config("averages.ema.precision=compensated"))
    assert train(config()).state.step == 28


def test_a_checkpoint_with_slashes_in_the_names_of_averages_is_resumed(config, tmp_path):
    """Shadows were named "w/ema" before: such a run, cut in two, ends as the whole one."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(config(f"output={whole}", COMPENSATED))
    train(config(f"output={cut}", COMPENSATED, "train.stop_after=13 steps"))
    found = Checkpoints(cut / "checkpoints").find("last")
    expected = evaluate(config(COMPENSATED), checkpoint=found.path)
    parts, averages = {}, {}
    for name, saved in found.manifest.averages.items():
        former = {shadow: f"{variable}/{name}" for variable, shadow in saved.shadow_of.items()}
        former |= {f"{shadow}.rest": f"{before}/rest" for shadow, before in former.items()}
        former |= {saved.count: "first/count", saved.weight: "first/weight"}
        parts[f"average-{name}"] = {former[each]: array for each, array in found.arrays(f"average-{name}").items()}
        shadow_of = {variable: former[shadow] for variable, shadow in saved.shadow_of.items()}
        new = {"shadow_of": shadow_of, "count": "first/count", "weight": "first/weight"}
        averages[name] = saved.model_copy(update=new)
    written_again(Manifest, found.path, parts, averages=averages)
    evaluated = evaluate(config(COMPENSATED), checkpoint=found.path)
    train(config(f"output={cut}", COMPENSATED))
    assert evaluated == expected
    assert content(last(cut)) == content(last(whole))
