"""Runs that continue from a checkpoint: they end as uninterrupted ones, or are refused with the differences."""

from __future__ import annotations

import json
import math
import os

import numpy as np
import pytest
from support.checkpoints import written_again
from support.configs import COMPENSATED, PLATEAU, loader
from support.drawn import drawn
from support.runs import content, last, losses

from ppema.api import evaluate
from ppema.checkpoint.manifest import Manifest
from ppema.checkpoint.store import Checkpoints
from ppema.errors import CheckpointError
from ppema.log.records import read_metrics
from ppema.training.loop import train


@pytest.fixture
def config(tmp_path):
    return loader(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run from start to end."""
    folder = tmp_path_factory.mktemp("whole")
    train(loader(folder)())
    return folder / "run"


@pytest.mark.parametrize("stop", [1, 7, 10, 13])
def test_a_run_cut_in_two_ends_as_the_whole_one(config, tmp_path, whole, stop):
    """In the middle of an epoch or at its end; with shuffling, dropout, warm-up, momentum and two averages."""
    cut = tmp_path / "cut"
    assert train(config(f"output={cut}", f"train.stop_after={stop} steps")).state.step == stop
    assert train(config(f"output={cut}")).state.step == 28
    ours, theirs = content(last(cut)), content(last(whole))
    best = [json.loads(each.pop("manifest"))["metrics"] for each in (ours, theirs)]
    times = [each["seconds"] for each in read_metrics(cut)]
    assert times[0] > 0 and times == sorted(times)
    assert ours == theirs
    assert best[0] == best[1]


def test_records_after_the_checkpoint_are_dropped_on_resuming(config, tmp_path):
    train(config("train.stop_after=10 steps"))
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "step": 12, "loss": 0.5}\n{"kind": "tr')
    train(config())
    steps = [r["step"] for r in read_metrics(tmp_path / "run") if r["kind"] == "train"]
    assert steps == [5, 10, 15, 20, 25, 28]


def test_visualdls_records_are_those_of_the_run_that_goes_on_from_an_earlier_step(config, tmp_path):
    """The records of steps 10 and 15 are dropped and written again, once, in agreement with metrics.jsonl."""
    output = tmp_path / "run"
    train(config("train.stop_after=15 steps", "train.save_every=9 steps"))
    assert drawn(output, "train", "train/loss") == recorded(output, "train", "loss") != []
    train(config("train.save_every=9 steps"), resume=str(output / "checkpoints/step-00000009"))
    assert [step for step, _ in drawn(output, "train", "train/loss")] == [5, 10, 15, 20, 25, 28]
    assert drawn(output, "train", "train/loss") == recorded(output, "train", "loss")
    for weights in ("raw", "ema", "quick"):
        assert drawn(output, weights, "eval/loss") == recorded(output, weights, "loss")


def recorded(output, of, figure):
    """Steps and values of a log interval, or of an evaluation of `of`, in metrics.jsonl. VisualDL holds float32."""
    records = [each for each in read_metrics(output) if of in (each["kind"], each.get("weights"))]
    return [(each["step"], float(np.float32(each[figure]))) for each in records]


def test_an_older_checkpoint_of_the_run_itself_is_gone_on_from(config, tmp_path):
    """The later ones are set aside, and the run ends with the same state."""
    train(config())
    before, records = content(last(tmp_path / "run")), losses(tmp_path / "run")
    folder = tmp_path / "run/checkpoints"
    train(config(), resume=str(folder / "step-00000010"))
    assert content(last(tmp_path / "run")) == before
    assert losses(tmp_path / "run") == records
    assert sorted(path.name for path in folder.glob("*.aside")) == ["step-00000020.aside", "step-00000028.aside"]
    said = (tmp_path / "run/log.txt").read_text()
    assert f"set aside as {folder}/step-00000020.aside\n" in said
    assert "resuming at step 10 of 28\n" in said


def test_what_was_set_aside_is_gone_on_from_in_another_folder(config, tmp_path):
    """The records before it are gone."""
    train(config())
    folder, whole = tmp_path / "run/checkpoints", content(last(tmp_path / "run"))
    train(config("train.stop_after=15 steps"), resume=str(folder / "step-00000010"))
    before = content(last(tmp_path / "run"))
    aside = folder / "step-00000020.aside"
    with pytest.raises(CheckpointError, match="20.aside: it was set aside, or renamed: go on from it in another output"):
        train(config(), resume=str(aside))
    assert content(last(tmp_path / "run")) == before
    train(config(f"output={tmp_path / 'other'}"), resume=str(aside))
    assert content(last(tmp_path / "other")) == whole


def test_auto_falls_back_to_the_newest_intact_one_and_says_so(config, tmp_path):
    train(config("train.save_every=5 steps"))
    whole, records = content(last(tmp_path / "run")), losses(tmp_path / "run")
    folder = tmp_path / "run/checkpoints"
    (folder / "step-00000028/optimizer.safetensors").unlink()
    file = folder / "step-00000025/average-ema.safetensors"
    size = file.stat().st_size
    os.truncate(file, size - 1)
    with pytest.raises(CheckpointError, match="step-00000028/optimizer.safetensors: No such file"):
        evaluate(config(), checkpoint="last")
    train(config("train.save_every=5 steps"))
    assert content(last(tmp_path / "run")) == whole
    assert losses(tmp_path / "run") == records
    said = (tmp_path / "run/log.txt").read_text()
    assert f"skipped {folder}/step-00000028/optimizer.safetensors: No such file or directory\n" in said
    assert f"skipped {file}: damaged: it has {size - 1} bytes, and {size} were written\n" in said
    assert "resuming at step 20 of 28\n" in said


def test_a_run_of_which_nothing_is_intact_is_not_begun_anew(config, tmp_path):
    train(config("train.stop_after=3 steps"))
    (tmp_path / "run/checkpoints/step-00000003/manifest.json").write_text("{}")
    with pytest.raises(CheckpointError, match="none of its checkpoints is intact: .*step-00000003/manifest.json: damaged"):
        train(config())
    assert (tmp_path / "run/checkpoints/step-00000003/manifest.json").read_text() == "{}"


def test_another_thread_count_paddle_or_mkl_is_told(config, tmp_path, monkeypatch):
    """The last bits may then differ, so the run warns and continues."""
    monkeypatch.setenv("MKL_CBWR", "AUTO")
    train(config("train.stop_after=3 steps"))
    saved = Checkpoints(tmp_path / "run/checkpoints").find("last")
    assert "MKL_CBWR=AUTO" in saved.manifest.mkl
    written_again(Manifest, saved.path, threads=64, paddle="9.9", mkl="")
    train(config("train.stop_after=4 steps"))
    said = (tmp_path / "run/log.txt").read_text()
    changes = (
        f"threads was 64, now {saved.manifest.threads}; paddle was 9.9, now {saved.manifest.paddle}; "
        f"the choice of MKL's code was its own, now {saved.manifest.mkl}"
    )
    assert f"warning: {changes}: the last bits of the weights may differ" in said
    assert said.count("the last bits of the weights may differ") == 1


def test_the_log_interval_goes_on_where_it_was_cut(config, tmp_path, whole):
    """Its mean loss covers all its steps, also those before the cut."""
    train(config("train.stop_after=7 steps", "train.log_every=15 steps"))
    train(config("train.log_every=5 steps"))
    cut, uncut = dict(losses(tmp_path / "run")), dict(losses(whole))
    assert cut.keys() == {7, 10, 15, 20, 25, 28}
    assert {step: cut[step] for step in (15, 20, 25, 28)} == {step: uncut[step] for step in (15, 20, 25, 28)}


def test_a_finished_run_has_nothing_left_to_do(config, tmp_path):
    first = train(config())
    before = content(last(tmp_path / "run"))
    assert train(config()) == first
    assert content(last(tmp_path / "run")) == before


def test_a_run_that_is_beyond_stop_after_already_stays_where_it_is(config, tmp_path):
    first = train(config("train.stop_after=10 steps"))
    before = content(last(tmp_path / "run"))
    assert train(config("train.stop_after=5 steps")) == first
    assert content(last(tmp_path / "run")) == before


def test_resume_never_refuses_a_run_that_exists(config, tmp_path):
    train(config("train.stop_after=3 steps"))
    before = content(last(tmp_path / "run"))
    with pytest.raises(CheckpointError, match="this run has checkpoints already"):
        train(config(), resume="never")
    assert content(last(tmp_path / "run")) == before


def test_resume_from_a_path_and_into_another_folder(config, tmp_path, whole):
    train(config("train.stop_after=10 steps"))
    result = train(config(f"output={tmp_path / 'other'}"), resume=str(last(tmp_path / "run")))
    assert result.state.step == 28
    assert content(last(tmp_path / "other"))["raw.safetensors"] == content(last(whole))["raw.safetensors"]


def test_a_plateau_run_cut_in_two_ends_as_the_whole_one(config, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(config(PLATEAU % "0.0", f"output={whole}"))
    train(config(PLATEAU % "0.0", f"output={cut}", "train.stop_after=7 steps"))
    train(config(PLATEAU % "0.0", f"output={cut}"))
    assert content(last(cut))["raw.safetensors"] == content(last(whole))["raw.safetensors"]
    with pytest.raises(CheckpointError, match="train.eval_every: was '10 steps', now '3 steps'"):
        train(config(PLATEAU % "0.0", f"output={cut}", "train.eval_every=3 steps"))


def test_a_compensated_run_cut_in_two_ends_as_the_whole_one(config, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(config(f"output={whole}", COMPENSATED))
    train(config(f"output={cut}", COMPENSATED, "train.stop_after=13 steps"))
    train(config(f"output={cut}", COMPENSATED))
    ours, theirs = content(last(cut)), content(last(whole))
    assert {name: value for name, value in ours.items() if name != "manifest"} == {
        name: value for name, value in theirs.items() if name != "manifest"
    }
    rests = {n: a for n, a in Checkpoints(whole / "checkpoints").find("last").arrays("average-quick").items() if ".rest" in n}
    assert len(rests) == 6 and any(rest.any() for rest in rests.values())


def test_a_run_with_transforms_cut_in_two_ends_as_the_whole_one(config, tmp_path):
    """In the middle of an epoch, and with another number of workers. The second transform is the user's own and draws."""
    listed = "data.train.transforms=[{name: RandomCrop, args: {size: 8, padding: 1}}, support.transforms.drawing]"
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(config(f"output={whole}", listed, "data.train.workers=1"))
    train(config(f"output={cut}", listed, "train.stop_after=10 steps"))
    train(config(f"output={cut}", listed))
    ours, theirs = content(last(cut)), content(last(whole))
    assert {name: value for name, value in ours.items() if name != "manifest"} == {
        name: value for name, value in theirs.items() if name != "manifest"
    }
    with pytest.raises(CheckpointError, match=r"data\.train\.transforms"):
        train(config(f"output={cut}"))


def test_weights_that_are_no_longer_evaluated_have_no_figures_of_an_earlier_step(config, tmp_path):
    assert train(config("train.stop_after=10 steps")).metrics.keys() == {"raw", "ema", "quick"}
    result = train(config("train.evaluate=[ema]", "train.stop_after=12 steps"))
    saved = Checkpoints(tmp_path / "run/checkpoints").find("last").manifest
    assert [*result.metrics] == [*saved.metrics] == ["ema"]


@pytest.mark.parametrize("loss", [math.inf, math.nan])
def test_evaluations_that_are_not_finite_leave_checkpoints_that_load(config, tmp_path, monkeypatch, loss):
    measured = iter([loss, 0.5, loss, 0.25] * 9)

    def found(*given, **named):
        return {"loss": next(measured), "accuracy": loss}

    monkeypatch.setattr("ppema.training.evaluations.evaluate", found)
    monitored = "train.monitor=[ema/loss,ema/accuracy]"
    result = train(config(PLATEAU % "0.0", monitored))
    assert "ema/accuracy" not in result.best and result.best["ema/loss"].value == 0.25
    assert Checkpoints(tmp_path / "run/checkpoints").find("last").manifest.lr["best"] == 0.25
    assert train(config(PLATEAU % "0.0", monitored)).state == result.state
