"""Checkpoints that earlier versions wrote are resumed."""

from __future__ import annotations

import pytest
from support.checkpoints import written_again
from support.configs import COMPENSATED, loader
from support.runs import content, last

from ppema.api import evaluate
from ppema.checkpoint.manifest import Manifest
from ppema.checkpoint.store import Checkpoints
from ppema.errors import CheckpointError
from ppema.training.loop import train

CONSTANT = "lr={name: constant, args: {learning_rate: 0.05}, warmup: 5 steps}"


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
    """Shadows were once named "w/ema". Such a run, interrupted and resumed, ends like an uninterrupted one."""
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


def with_former_warmup(output, step):
    """Rewrite the last checkpoint of a run as with Paddle's LinearWarmup in place of our own."""
    found = Checkpoints(output / "checkpoints").find("last")
    lr = dict(found.manifest.lr)
    schedule = {**lr.pop("schedule"), "last_epoch": max(step - 5, 0)}
    lr |= {"learning_rate": schedule, "warmup_steps": lr.pop("steps"), "start_lr": 0.0, "end_lr": 0.05}
    written_again(Manifest, found.path, lr=lr)
    (output / "checkpoints/last").unlink()  # It has the checksum of the former manifest.
    return found.path


@pytest.mark.parametrize("step", [3, 13])
def test_a_constant_rate_with_the_former_warmup_is_resumed(config, tmp_path, step):
    """A run interrupted in or after the warm-up, and resumed, ends like an uninterrupted one."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(config(f"output={whole}", CONSTANT))
    train(config(f"output={cut}", CONSTANT, f"train.stop_after={step} steps"))
    with_former_warmup(cut, step)
    train(config(f"output={cut}", CONSTANT))
    assert content(last(cut)) == content(last(whole))


def test_a_schedule_that_began_after_the_warmup_is_refused(config, tmp_path):
    train(config("train.stop_after=13 steps"))
    path = with_former_warmup(tmp_path / "run", 13)
    before = content(path)
    with pytest.raises(CheckpointError) as caught:
        train(config())
    assert str(caught.value).splitlines()[0] == (
        f"{path}: its learning-rate schedule began at the end of the warm-up; schedules now begin with the run, and its rates "
        "would change: begin anew"
    )
    assert content(path) == before


def test_a_length_without_a_unit_is_resumed_with_its_unit(config, tmp_path):
    """`boundaries: [9]` once counted steps, and is refused now."""
    lr = "lr={name: PiecewiseDecay, args: {boundaries: [9 steps, 60 %], values: [0.1, 0.05, 0.01]}}"
    train(config(lr, "train.stop_after=13 steps"))
    saved = Checkpoints(tmp_path / "run/checkpoints").find("last")
    before = saved.manifest.config
    before["lr"]["args"]["boundaries"][0] = 9
    written_again(Manifest, saved.path, config=before)
    with pytest.raises(CheckpointError, match=r"lr.args.boundaries: was \['9 steps', '60 %'\], now \['8 steps', '60 %'\]"):
        train(config(lr.replace("9 steps", "8 steps")))
    assert train(config(lr)).state.step == 28
