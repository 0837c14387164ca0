"""The public functions from Python: when they load paddle, with how many threads, and what they take for a run."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from support.configs import loader

import ppema
from ppema.deploy import exporting
from ppema.errors import PpemaError, SetupError
from ppema.evaluation.stored import evaluate_stored
from ppema.posthoc.request import ARGUMENTS, request_of
from ppema.training import loop

ROOT = Path(__file__).parents[1]


def test_a_function_loads_paddle_when_it_is_called_with_the_threads_of_the_config():
    """A number of threads that is no default on this machine."""
    code = f"""
import os, sys, ppema
functions = [ppema.train, ppema.build, ppema.evaluate, ppema.average, ppema.export]
assert "paddle" not in sys.modules
threads = 3 if os.cpu_count() != 3 else 2
functions[1](ppema.load_config({str(ROOT / "configs/digits_mlp.yml")!r}, [f"runtime.threads={{threads}}"]))
assert os.environ["OMP_NUM_THREADS"] == str(threads)
"""
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "PPEMA_NATIVE": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_other_names_load_paddle_at_their_first_use_in_static_mode():
    code = """
import sys, ppema
ppema.read_state
assert not sys.modules["paddle"].in_dynamic_mode()
"""
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("public", "done_by"),
    [
        (ppema.train, loop.train),
        (ppema.evaluate, evaluate_stored),
        (ppema.export, exporting.export),
    ],
    ids=["train", "evaluate", "export"],
)
def test_a_public_function_takes_the_arguments_of_the_one_that_works(public, done_by):
    """But for what shows progress, for the ranks, and for samples, which the public function only asks to be kept."""
    apart = ("config", "run", "say", "watch", "world", "samples", "keep_samples", "samples_limit")
    ours, theirs = (
        [(name, each.kind, each.default) for name, each in inspect.signature(function).parameters.items() if name not in apart]
        for function in (public, done_by)
    )
    assert ours == theirs
    assert inspect.getdoc(public)


def test_the_command_average_takes_the_arguments_of_the_function():
    assert ("run", *ARGUMENTS, "say") == tuple(inspect.signature(ppema.average).parameters)
    with pytest.raises(TypeError, match="stride"):
        request_of(search="grid", stride=3)


def test_evaluate_and_export_take_a_config_a_run_or_its_folder(tmp_path):
    config = loader(tmp_path)("train.epochs=1")
    ppema.train(config)
    folder = (tmp_path / "run").rename(tmp_path / "moved")
    runs = [config.model_copy(update={"output": str(folder)}), ppema.run(folder), folder, str(folder)]
    first, *others = [ppema.evaluate(run, "ema") for run in runs]
    assert all(each == first for each in others)
    files = [Path(ppema.export(run, tmp_path / f"{number}.safetensors").file) for number, run in enumerate(runs)]
    assert len({file.read_bytes() for file in files}) == 1


@pytest.mark.parametrize("function", [ppema.train, ppema.build])
def test_what_is_no_config_is_refused_in_a_line(function, tmp_path):
    (tmp_path / "config.yml").touch()
    expected = "config: expected what ppema.load_config returns, got a "
    for given, got in [
        ("reg.yml", "str: ppema.load_config('reg.yml')"),
        (tmp_path, f"PosixPath: ppema.run({str(tmp_path)!r}).config"),
        (ppema.run(tmp_path), f"Run: ppema.run({str(tmp_path)!r}).config"),
        ({"lr": 0.1}, "dict"),
    ]:
        with pytest.raises(PpemaError) as refused:
            function(given)
        assert str(refused.value) == expected + got


@pytest.mark.parametrize("function", [ppema.evaluate, lambda run: ppema.export(run, "x.safetensors")])
def test_what_is_no_run_is_refused_in_a_line(function, tmp_path):
    file = tmp_path / "reg.yml"
    file.touch()
    with pytest.raises(PpemaError) as refused:
        function(file)
    assert str(refused.value) == f"{file}: expected the output folder of a run, or a config: load_config({str(file)!r})"
    with pytest.raises(
        PpemaError, match=r"^expected a config, what ppema\.run returns, or the path of a run's folder; got a dict$"
    ):
        function({})
    with pytest.raises(PpemaError, match=r"nowhere: this is no run of ppema: there is no such folder"):
        function("nowhere")


def as_rank_1_of_2(monkeypatch):
    for name, value in (("TRAINER_ID", 1), ("TRAINERS_NUM", 2), ("LOCAL_RANK", 1), ("LOCAL_SIZE", 2)):
        monkeypatch.setenv(f"PADDLE_{name}", str(value))


def test_an_export_is_written_by_rank_0_alone(tmp_path, monkeypatch):
    """A rank on another machine has no folder of the run."""
    as_rank_1_of_2(monkeypatch)
    assert ppema.export(tmp_path / "on another machine", tmp_path / "x.safetensors") is None
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_is_refused_on_several_ranks(tmp_path, monkeypatch):
    """Each of them would start the whole sweep, and each of its trainings would be a rank, too."""
    as_rank_1_of_2(monkeypatch)
    with pytest.raises(SetupError, match="call it without paddle.distributed.launch"):
        ppema.sweep("x.yml", to=tmp_path / "s")
    assert list(tmp_path.iterdir()) == []
