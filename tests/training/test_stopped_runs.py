"""Runs that a signal stops."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.configs import loader
from support.runs import content, last

from ppema.checkpoint.store import Checkpoints
from ppema.data import Loader
from ppema.training.loop import Trainer, train
from ppema.training.saving.save import Saver
from ppema.training.stop import stop_requests

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(tmp_path):
    return loader(tmp_path)


@pytest.mark.parametrize(
    ("number", "code", "workers"),
    [
        (signal.SIGTERM, 143, 0),
        (signal.SIGINT, 130, 2),
        pytest.param(signal.SIGTERM, 143, 2, marks=pytest.mark.campaign),
        pytest.param(signal.SIGINT, 130, 0, marks=pytest.mark.campaign),
    ],
)
def test_a_stop_signal_to_the_whole_group_saves_first(config, tmp_path, number, code, workers):
    """A terminal or a job scheduler signals data workers too. The resumed run goes on as an uninterrupted one."""
    config()
    data = f"data.train={{name: support.datasets.Images, batch_size: 8, shuffle: true, workers: {workers}}}"
    length = ["train.epochs=100", "train.save_every=100 epochs", "lr=0.01"]
    overrides = [part for override in (data, *length, f"output={tmp_path / 'run'}") for part in ("-o", override)]
    command = [sys.executable, str(ROOT / "tools/train.py"), "-c", str(tmp_path / "small.yml"), *overrides]
    environment = {"PYTHONPATH": str(ROOT / "tests"), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    guard = threading.Timer(60, process.kill)
    guard.start()
    for line in process.stderr:
        if line.startswith("step 20/"):
            os.killpg(process.pid, number)
            break
    out, rest = process.communicate(timeout=60)
    guard.cancel()
    assert process.returncode == code, rest
    assert "Traceback" not in out + rest
    assert f"stopped by signal {number.value} after step " in rest
    stopped_at = Checkpoints(tmp_path / "run/checkpoints").find("last").manifest.state.step
    assert 20 <= stopped_at < 500
    whole, then = tmp_path / "whole", ("data.train.workers=0", f"train.stop_after={stopped_at + 9} steps")
    train(config(data, *length, *then))
    train(config(data, *length, *then, f"output={whole}"))
    assert content(last(tmp_path / "run"))["raw.safetensors"] == content(last(whole))["raw.safetensors"]


def test_a_signal_between_saving_and_stopping_finds_the_next_step_saved(config, tmp_path, monkeypatch):
    """Whenever the signal comes, the step that the run reports as saved is saved."""
    check, calls = Saver.check, []

    def stop_in_step_3(self):
        calls.append(None)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        check(self)

    monkeypatch.setattr(Saver, "check", stop_in_step_3)
    result = train(config())
    assert (result.stopped_by, result.state.step) == (signal.SIGTERM, 4)
    assert last(tmp_path / "run").name == "step-00000004"


def test_the_second_signal_takes_its_usual_effect():
    # A process that a shell starts in the background ignores SIGINT.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with stop_requests() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.signal == signal.SIGINT
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_second_ctrl_c_while_the_last_batches_are_closed_is_raised(config, monkeypatch):
    """Python ignores an exception, and prints its traceback, if the garbage collector closes the generator."""
    epoch, go, training = Loader.epoch, Trainer.go, []

    def interrupted(self, *given, **named):
        try:
            yield from epoch(self, *given, **named)
        finally:
            if training and self.label == "data.train":
                raise KeyboardInterrupt

    monkeypatch.setattr(Loader, "epoch", interrupted)
    monkeypatch.setattr(Trainer, "go", lambda self, lock: training.append(True) or go(self, lock))
    with pytest.raises(KeyboardInterrupt):
        train(config("train.stop_after=3 steps"))
