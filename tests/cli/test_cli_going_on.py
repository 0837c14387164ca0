"""The commands that a stop or a refusal prints: pasted into a shell unchanged, they continue the run."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.configs import write_config

from ppema.checkpoint.folder import step_of
from ppema.checkpoint.store import Checkpoints
from ppema.cli.train import main

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "tests"), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder, with a space in its name, that has a small config; its relative paths are those of the commands."""
    folder = tmp_path / "my runs"
    folder.mkdir()
    write_config(folder / "small.yml")
    monkeypatch.chdir(folder)
    return folder


def pasted(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, shell=True, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False)


def step(output: Path) -> int:
    return step_of(Checkpoints(output / "checkpoints").find("last").path)


def test_after_a_stop(here):
    overrides = [
        "-o",
        "train.epochs=500",
        "-o",
        "lr=0.01",
        "-o",
        "output=a run",
        "-o",
        "model={name: support.models.Nested, args: {classes: 3}}",
    ]
    command = [sys.executable, "-W", "ignore", str(ROOT / "tools/train.py"), "-c", "small.yml", *overrides, "--json"]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("step 20/"):
            process.send_signal(signal.SIGINT)
            break
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    (said,) = [line for line in out.splitlines() if line.startswith("to go on: ")]
    assert shlex.split(said.removeprefix("to go on: ")) == command
    stopped = step(here / "a run")
    done = pasted(said.removeprefix("to go on: ").replace("epochs=500", "epochs=500 -o train.stop_after='1 step'"))
    assert done.returncode == 0 and f"resuming at step {stopped} of 1\n" in done.stderr


def test_after_a_refusal_to_extend(here, capsys):
    assert main(["-c", "small.yml", "-o", "train.epochs=1"]) == 0
    capsys.readouterr()
    assert main(["-c", "small.yml", "-o", "train.epochs=2"]) == 2
    refused, command = capsys.readouterr().err.splitlines()
    assert refused.endswith("lr.args.T_max: 100 % was 7 steps, now 14: accept it (extend), or choose another output")
    assert command == "to accept it: ppema train -c small.yml -o train.epochs=2 --extend"
    assert main(shlex.split(command.removeprefix("to accept it: "))[2:]) == 0
    assert "extended: lr.args.T_max: 100 % was 7 steps, now 14\n" in capsys.readouterr().err
    assert step(here / "runs/small") == 14


REFUSED = {
    "lost checkpoints": (["-o", "seed=0"], "to begin anew: ", "runs/small-2"),
    "another config": (["-o", "seed=1"], "to begin anew: ", "runs/small-2"),
    "never": (["--resume", "never"], "to resume it: ", "runs/small"),
    "another run's": (["--resume", "source/checkpoints/last"], "to do that: ", "runs/small-2"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_after_another_refusal(here, capsys, case):
    arguments, purpose, output = REFUSED[case]
    assert main(["-c", "small.yml", "-o", "train.stop_after=10 steps"]) == 0
    if case == "lost checkpoints":
        shutil.rmtree("runs/small/checkpoints")
    if case == "another run's":
        assert main(["-c", "small.yml", "-o", "output=source", "-o", "train.stop_after=10 steps"]) == 0
    capsys.readouterr()
    assert main(["-c", "small.yml", *arguments]) == 2
    _, command = capsys.readouterr().err.splitlines()
    assert command.startswith(f"{purpose}ppema train -c small.yml")
    words = shlex.split(command.removeprefix(purpose))
    assert main(words[2:]) == 0
    assert step(here / output) == 28


def test_a_library_call_names_no_flag(here):
    from ppema.config import load_config
    from ppema.errors import CheckpointError
    from ppema.training.loop import train

    train(load_config("small.yml", ["train.epochs=1"]))
    with pytest.raises(CheckpointError) as caught:
        train(load_config("small.yml", ["train.epochs=2"]))
    assert "--" not in str(caught.value) and len(str(caught.value).splitlines()) == 1
    assert os.listdir("runs") == ["small"]
