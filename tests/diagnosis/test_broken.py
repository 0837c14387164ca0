"""Each check succeeds here, and fails when what it checks is broken."""

from __future__ import annotations

import sys
import time
from collections import Counter
from contextlib import nullcontext, suppress
from pathlib import Path

import numpy as np
import paddle
import pytest

from ppema.diagnosis import average_checks, paddle_checks, program_checks, rank_checks, run_checks
from ppema.diagnosis.finding import Finding
from ppema.ema.exponential_moving_average import ExponentialMovingAverage
from ppema.errors import SetupError
from ppema.ir import backend, native
from ppema.passes import clone, ema_graph
from ppema.passes.fused import ema_native
from ppema.passes.onednn import OnednnPass
from ppema.passes.placement import Placement
from ppema.training.loop import train
from ppema.training.setup import TrainingRun


@pytest.fixture(params=["sound", "broken"])
def broken(request):
    """Whether the test breaks what the check checks."""
    return request.param == "broken"


def test_the_device_and_what_it_computes(broken, monkeypatch):
    assert paddle_checks.device("cpu").result == "ok"
    with pytest.raises(SetupError, match="there is no such GPU"):
        paddle_checks.device("gpu:0")
    if broken:
        real = paddle.matmul
        monkeypatch.setattr(paddle, "matmul", lambda a, b: real(a, b) * 1.0001)
    assert paddle_checks.computes("cpu").result == ("failed" if broken else "ok")


def test_a_gpu_that_a_paddle_for_cpus_does_not_use(monkeypatch, tmp_path):
    monkeypatch.setattr(paddle_checks, "_GPU_FILES", (tmp_path,))
    assert paddle_checks.device("auto").result == "warning"


@pytest.mark.parametrize(("cores", "result"), [(1, "ok"), (2, "warning")])
def test_threads_and_cores(cores, result, monkeypatch):
    """The tests run with one thread."""
    monkeypatch.setattr(paddle_checks, "available_cores", lambda: cores)
    assert paddle_checks.threads("cpu").result == result


def test_onednn(broken, monkeypatch):
    hindrance = backend().onednn_hindrance()
    if hindrance is not None:
        assert paddle_checks.onednn("cpu") == Finding("skipped", hindrance)
        return
    if broken:
        monkeypatch.setattr(OnednnPass, "place", lambda *_: Placement(Counter(), Counter(), Counter(), None))
    assert paddle_checks.onednn("cpu").result == ("failed" if broken else "ok")


def test_missing_operations_are_a_warning(broken, monkeypatch):
    if broken:
        monkeypatch.setattr(native, "why_missing", lambda: "there is no C++ compiler (g++)")
    found = paddle_checks.native("cpu")
    assert found.result == ("warning" if broken else "ok")
    assert average_checks.by_native("cpu").result == ("skipped" if broken else "ok")


@pytest.mark.parametrize(("check", "module"), [("by_native", ema_native), ("by_paddle", ema_graph)])
def test_averages(check, module, monkeypatch):
    sound = getattr(average_checks, check)("cpu")
    assert sound.result == "ok" and "50 steps differ from float64 by " in sound.detail
    real = module.append_update

    def twice(*arguments):
        real(*arguments)
        real(*arguments)

    monkeypatch.setattr(module, "append_update", twice)
    assert getattr(average_checks, check)("cpu").result == "failed"


def test_a_test_clone(broken, monkeypatch):
    if broken:
        monkeypatch.setattr(clone, "clone_for_test", lambda program, values: backend().clone(program, values))
    found = program_checks.test_clone("cpu")
    assert found == Finding("failed", "the test clone changes BatchNorm's statistics") if broken else found.result == "ok"


def test_a_swap(monkeypatch):
    assert program_checks.swap("cpu").result == "ok"
    apply = ExponentialMovingAverage.apply
    monkeypatch.setattr(ExponentialMovingAverage, "apply", lambda self, executor: apply(self, executor, need_restore=False))
    assert program_checks.swap("cpu") == Finding("failed", "after apply the raw weights have other bits than before")
    monkeypatch.setattr(ExponentialMovingAverage, "apply", lambda self, executor: nullcontext())
    assert program_checks.swap("cpu") == Finding("failed", "inside apply the weights are not the averages")


def test_a_checkpoint(broken, monkeypatch):
    if broken:
        monkeypatch.setattr(TrainingRun, "write", lambda self, checkpoint: None)
    found = run_checks.checkpoint("cpu")
    assert found.result == ("failed" if broken else "ok")
    assert "average-ema.safetensors" in found.detail and "optimizer.safetensors" in found.detail


def test_half_types_need_a_gpu():
    for check in (run_checks.bfloat16, run_checks.float16):
        assert check("cpu") == Finding("skipped", "it needs a GPU: on a CPU, Paddle lacks most kernels of half types")


def test_visualdl(broken, monkeypatch):
    if broken:
        monkeypatch.setattr("ppema.log.board.kept_records", lambda file, step: iter(()))
    assert run_checks.visualdl("cpu").result == ("failed" if broken else "ok")


def test_ranks_are_compared_with_one_process(monkeypatch, tmp_path):
    """The launch itself is in tests/cli/test_cli_doctor.py."""
    train(run_checks.small_config(tmp_path, "cpu", model=rank_checks._MLP))
    alone = rank_checks.weights(tmp_path)
    name = next(each for each in alone if each.startswith("average-ema/linear"))
    for error, result in ((5e-7, "ok"), (2e-6, "failed")):
        monkeypatch.setattr(rank_checks, "launched", lambda *_, error=error: {**alone, name: alone[name] + np.float32(error)})
        assert rank_checks.gloo("cpu").result == result
    monkeypatch.setattr(rank_checks, "launched", lambda *_: alone)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = rank_checks.gloo("cpu")
    assert found.result == "warning" and "unset CUDA_VISIBLE_DEVICES" in found.detail
    assert rank_checks.nccl("cpu") == Finding("skipped", "the device is a CPU")


def runs(process: str) -> bool:
    """Whether there is a process of this number that has not ended."""
    with suppress(OSError):
        return bool(Path(f"/proc/{process}/cmdline").read_bytes())
    return False


def test_ranks_that_hang_are_reported_and_end_with_the_launcher(monkeypatch, tmp_path):
    """The launcher is one that starts a rank in a session of its own, whose output is a log, and waits."""
    launcher, number = tmp_path / "launcher", tmp_path / "number"
    rank = f'setsid {sys.executable} -S "${{@: -1}}" > log/workerlog.0'
    launcher.write_text(f"#!/bin/bash\nmkdir log\n{rank} &\necho $! > {number}\nsleep 60\n")
    launcher.chmod(0o755)
    code = "import time; print('rank 0: an error', flush=True); time.sleep(60)"
    monkeypatch.setattr(sys, "executable", str(launcher))
    monkeypatch.setattr(rank_checks, "python_with_ppema", lambda _: [code])
    monkeypatch.setattr(rank_checks, "_LIMIT", 4.0)
    assert rank_checks.launched("cpu", {}) == Finding("failed", "the launcher did not end within 4 s: rank 0: an error")
    end = time.monotonic() + 5
    while runs(number.read_text().strip()) and time.monotonic() < end:
        time.sleep(0.05)
    assert not runs(number.read_text().strip())
