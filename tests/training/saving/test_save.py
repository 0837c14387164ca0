"""Runs that can not save: full disks, removed folders, a second process on the same run."""

from __future__ import annotations

import errno
import math
import os
import shutil
import threading

import pytest
from support.configs import loader
from support.runs import content, last, losses

from ppema.checkpoint.lock import locked
from ppema.errors import CheckpointError, DataError, TrainingError
from ppema.log.records import read_metrics
from ppema.training import evaluations
from ppema.training.loop import train
from ppema.training.stepper import Stepper


@pytest.fixture
def config(tmp_path):
    return loader(tmp_path)


def at_steps(monkeypatch, act):
    """Call `act(step)` before each step, counted from 1, while nothing is being written."""
    step = Stepper.run

    def acting(self, batch, state):
        for thread in threading.enumerate():
            if thread.name == "ppema writer":
                thread.join()
        act(state.step + 1)
        return step(self, batch, state)

    monkeypatch.setattr(Stepper, "run", acting)


def full_disk(monkeypatch, first, last):
    """A disk that is full from the step `first` to the end of the step `last`."""
    full = [False]
    at_steps(monkeypatch, lambda step: full.__setitem__(0, first <= step <= last))
    for name in ("write", "pwrite"):
        call = getattr(os, name)

        def limited(*args, call=call):
            if full[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
            return call(*args)

        monkeypatch.setattr(os, name, limited)


def test_a_full_disk_ends_a_run_that_goes_on_from_what_was_saved_before(config, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        full_disk(patch, 9, 100)
        with pytest.raises(TrainingError, match=r"No space left on device"):
            train(config("train.save_every=4 steps"))
    assert last(tmp_path / "run").name == "step-00000008"
    assert not list((tmp_path / "run/checkpoints").glob(".*"))
    train(config("train.save_every=4 steps"))
    train(config("train.save_every=4 steps", f"output={tmp_path / 'whole'}"))
    assert content(last(tmp_path / "run")) == content(last(tmp_path / "whole"))
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


def test_a_checkpoint_alone_that_can_not_be_written_ends_the_run_at_the_next_step(config, tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError(errno.EACCES, "Permission denied")

    at_steps(monkeypatch, lambda step: monkeypatch.setattr("ppema.checkpoint.folder.write_file", refuse) if step == 6 else None)
    said = "step-00000008: the checkpoint could not be written: .*Permission denied"
    with pytest.raises(TrainingError, match=said):
        train(config("train.save_every=4 steps"))
    assert last(tmp_path / "run").name == "step-00000004"


def test_a_run_that_goes_on_over_a_full_disk_loses_no_record(config, tmp_path, monkeypatch, capsys):
    train(config("train.save_every=4 steps", f"output={tmp_path / 'whole'}"))
    with monkeypatch.context() as patch:
        full_disk(patch, 7, 17)
        result = train(config("train.save_every=4 steps", "train.failed_save=go_on"))
    assert result.state.step == 28
    said = capsys.readouterr().err
    run = tmp_path / "run"
    assert f"warning: {run}/checkpoints/step-00000008: the checkpoint could not be written: [Errno 28]" in said
    assert f"warning: {run}: the run's records can not be written: [Errno 28] No space left on device; the run goes on" in said
    assert content(last(run)) == content(last(tmp_path / "whole"))
    assert [record["step"] for record in read_metrics(run)] == [record["step"] for record in read_metrics(tmp_path / "whole")]
    assert losses(run) == losses(tmp_path / "whole")


@pytest.mark.parametrize("policy", ["end", "go_on"])
def test_a_last_checkpoint_that_is_not_there_is_an_error_in_any_case(config, tmp_path, monkeypatch, policy):
    full_disk(monkeypatch, 28, 28)
    with pytest.raises(TrainingError, match="No space left on device"):
        train(config(f"train.failed_save={policy}"))
    assert last(tmp_path / "run").name == "step-00000020"


def test_a_checkpoint_that_fails_while_another_error_ends_the_run_is_told(config, tmp_path, monkeypatch, capsys):
    begun = threading.Event()

    def refuse(*args):
        begun.wait(10)
        raise OSError(errno.EACCES, "Permission denied")

    def break_off(step):
        if step == 3:
            monkeypatch.setattr("ppema.checkpoint.folder.write_file", refuse)
        if step == 5:
            begun.set()
            raise DataError("the data is gone")

    step = Stepper.run
    monkeypatch.setattr(Stepper, "run", lambda self, batch, state: (break_off(state.step + 1), step(self, batch, state))[1])
    with pytest.raises(DataError, match="the data is gone"):
        train(config("train.save_every=4 steps"))
    said = (
        f"warning: {tmp_path}/run/checkpoints/step-00000004: the checkpoint could not be written: [Errno 13] Permission denied"
    )
    assert said in capsys.readouterr().err
    assert said in (tmp_path / "run/log.txt").read_text()


@pytest.mark.parametrize("bound", [math.inf, -math.inf])
def test_a_measure_without_bound_is_no_best_and_the_run_goes_on_from_its_checkpoints(config, tmp_path, monkeypatch, bound):
    measured = iter([bound, 0.5, bound])
    evaluate = evaluations.evaluate

    def changed(*args, **named):
        found = evaluate(*args, **named)
        return {**found, "loss": next(measured)}

    with monkeypatch.context() as patch:
        patch.setattr(evaluations, "evaluate", changed)
        short = ("averages={}", "train.monitor=raw/loss", "train.mode=max")
        result = train(config(*short, "train.stop_after=10 steps"))
        assert result.best == {}
        result = train(config(*short, "train.eval_every=2 steps", "train.stop_after=14 steps"))
    assert {monitor: (best.value, best.step) for monitor, best in result.best.items()} == {"raw/loss": (0.5, 12)}
    assert train(config(*short)).state.step == 28


def test_a_run_whose_folder_is_removed_ends_and_does_not_bring_it_back(config, tmp_path, monkeypatch):
    at_steps(monkeypatch, lambda step: shutil.rmtree(tmp_path / "run") if step == 8 else None)
    with pytest.raises(TrainingError, match="run: the run's folder was removed or replaced while the run went on"):
        train(config("train.save_every=2 steps", "train.failed_save=go_on"))
    assert not (tmp_path / "run").exists()


def test_two_processes_do_not_train_in_one_folder(config, tmp_path):
    train(config("train.stop_after=3 steps"))
    before = content(last(tmp_path / "run"))
    with locked(tmp_path / "run"), pytest.raises(CheckpointError, match=r"run/lock: process \d+ on .*, is using this run"):
        train(config())
    assert content(last(tmp_path / "run")) == before
    assert not (tmp_path / "run/lock").exists()


def test_several_metrics_have_each_their_best(config, tmp_path):
    monitors = "train.monitor=[ema/accuracy, raw/loss, quick/loss]"
    result = train(config(monitors, "train.eval_every=3 steps", "train.save_every=100 %", "train.keep=1"))
    folder = tmp_path / "run/checkpoints"
    assert list(result.best) == ["ema/accuracy", "raw/loss", "quick/loss"]
    for pointer, monitor in (("best", "ema/accuracy"), ("best-raw-loss", "raw/loss"), ("best-quick-loss", "quick/loss")):
        named = (folder / pointer).read_text().split()[0]
        assert named == f"step-{result.best[monitor].step:08d}"
        assert (folder / named).is_dir()


def test_the_first_checkpoint_of_every_so_much_is_kept(config, tmp_path):
    train(config("train.save_every=3 steps", "train.keep=1", "train.keep_every=1 epoch", "train.monitor=null"))
    kept = sorted(path.name for path in (tmp_path / "run/checkpoints").glob("step-*"))
    assert kept == [f"step-{step:08d}" for step in (9, 15, 21, 28)]
