"""The work of the sides of a benchmark. No test depends on a speed."""

from __future__ import annotations

import importlib
import io
import json
import os
import signal
import subprocess
import sys

import numpy as np
import paddle
import pytest

from benchmarks import ema, evaluation, limit, loader, loop, ours, peer, startup, step, stock, swap
from benchmarks.child import serve
from benchmarks.measure import Options
from benchmarks.numpy_side import add
from benchmarks.subjects import Subject
from ppema.cli.benchmark import COMMANDS, main
from ppema.errors import TrainingError
from ppema.ir import scope

SHAPES = [[3, 2], [4], [1]]


@pytest.fixture
def options(tmp_path):
    return Options(15, tmp_path, ("mlp",))


@pytest.fixture
def quick(monkeypatch):
    """Short rounds without a rest between them."""
    monkeypatch.setattr(peer, "QUIET", 0.0)
    monkeypatch.setattr(peer, "ROUND_SECONDS", 0.001)


def test_a_side_answers_each_number_with_the_seconds_of_one_call():
    calls, answers = [], io.StringIO()
    serve(lambda: calls.append(1), io.StringIO("5\n20\n"), answers)
    # A warm-up of one call in ten, and one more, comes first.
    assert len(calls) == 1 + 5 + 3 + 20
    assert len([float(line) for line in answers.getvalue().splitlines()]) == 2


def test_our_update_moves_every_average():
    with ours.update(SHAPES, 2) as work:
        for _ in range(3):
            work()
        here = paddle.static.global_scope()
        for name in ("ema0", "ema1"):
            shadows = [scope.get(here, f"w{index}.{name}") for index in range(3)]
            assert [each.shape for each in shadows] == [tuple(shape) for shape in SHAPES]
            assert all((each == 0.5).all() for each in shadows)
            assert scope.get(here, f"w0.{name}.count") == 3


def test_our_update_without_a_compiler_is_by_paddles_operations():
    """In a separate process, as in a benchmark."""
    script = (
        "from ppema.environment import load_paddle; load_paddle()\n"
        "from benchmarks import ours; from ppema.ir import native\n"
        "with ours.update_without_compiler([[2]]) as work: work(); print(native.why_missing())"
    )
    with peer.command("-c", script) as process:
        assert (process.communicate()[0], process.returncode) == ("PPEMA_NATIVE=0\n", 0)


def test_the_official_pattern_is_that_of_a_moving_average():
    with stock.update([[2]]) as work:
        for _ in range(3):
            work()
        shadow = scope.get(paddle.static.global_scope(), "w0/official")
    np.testing.assert_allclose(shadow, [0.5 * (1 - 0.999**3)] * 2, rtol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_memory_limit_adds_to_every_array(threads, monkeypatch):
    made = []
    zeros = np.zeros
    monkeypatch.setattr(np, "zeros", lambda *args: made.append(zeros(*args)) or made[-1])
    with add(SHAPES, threads) as work:
        work()
        work()
    assert [each.tolist() for each in made] == [[[1.0, 1.0]] * 3, [1.0] * 4, [1.0]]


@pytest.mark.parametrize("official", [False, True])
def test_stock_paddle_takes_steps(official):
    with stock.step("mlp", official) as work:
        losses = [work() for _ in range(50)]
    assert losses[-1] < 0.8 * losses[0]


def test_our_step_with_and_without_an_average():
    for averages in (0, 1):
        with ours.step("mlp", averages) as work:
            work()


def test_resnet50_has_267_tensors():
    shapes = ema.tensors()
    assert (len(shapes), sum(int(np.prod(shape)) for shape in shapes)) == (267, 25_610_152)


def made_up(rounds, *builders):
    """In place of `compare`: the sides run in this process, and each does its work once. The i-th takes i ms."""
    for name, *arguments in builders:
        module, _, function = name.partition(":")
        with getattr(importlib.import_module(module), function)(*arguments) as work:
            work()
    return [(1e-3 * (index + 1),) * rounds for index in range(len(builders))]


def test_updates_are_measured(options, monkeypatch):
    """The times are made up: 1, 2, ... ms."""
    monkeypatch.setattr(ema, "tensors", lambda: SHAPES)
    monkeypatch.setattr(ema, "has_torch", lambda: False)
    monkeypatch.setattr(limit, "threads_in_use", lambda: 1)
    monkeypatch.setattr(ema, "compare", made_up)
    monkeypatch.setenv("PPEMA_NATIVE", os.environ.get("PPEMA_NATIVE", "1"))  # restores the variable that a side sets
    found = ema.measure(options)
    assert [(each.name, each.aim) for each in found.figures] == [
        ("EMA update of 3 tensors", 1.1),
        ("the same, where there is no compiler", 3.0),
        ("EMA update of 3 tensors", None),
        ("2 averages", None),
        ("4 averages", None),
    ]
    # 12 bytes for each of 11 numbers in 5 ms.
    assert {each.beside for each in found.figures[:2]} == {"12 bytes a number at 0.0 GB/s, numpy's a += b in 1 thread"}
    assert [each.value for each in found.figures] == pytest.approx([1 / 5, 4 / 5, 1 / 6, 2, 3])
    assert found.skipped == ["beside PyTorch nothing is measured: pip install -r requirements-bench.txt"]


@pytest.mark.campaign
def test_steps_are_measured(options, quick, capsys):
    """By the command line, as a user does."""
    arguments = ["step", "--models", "mlp", "--threads", "1", "--folder", str(options.folder), "--json"]
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert said.err == "measuring: step mlp ...\n"
    found = json.loads(said.out.splitlines()[-1])
    besides = [each["beside"] for each in found["figures"]]
    if peer.has_torch():
        assert besides.pop(0) == "torch with foreach EMA"
        assert besides.pop(0) in step.FORMS.values()
    ours = ["Paddle in dynamic mode", "stock Paddle with the official pattern", "stock Paddle without EMA"]
    assert besides == [*ours, *(["JAX with optax, one jitted function"] if peer.has_jax() else [])]
    assert len(found["skipped"]) == 2 - peer.has_torch() - peer.has_jax()


def test_the_swap_is_measured(options, monkeypatch):
    monkeypatch.setattr(swap, "NAME", "mlp")
    (figure,) = swap.measure(options).figures
    assert figure.name == "apply and restore of 0 MB in 4 arrays"
    assert (figure.kind, len(figure.values)) == ("time", 15)


def test_the_loop_is_measured_beside_its_bare_program(options, monkeypatch):
    monkeypatch.setattr(loop, "STEPS", 10)
    monkeypatch.setattr(loop, "WARM", 2)
    (figure,) = loop.measure(options).figures
    assert (figure.kind, len(figure.values)) == ("difference", 15)
    assert min(figure.ours + figure.theirs) > 0
    assert list(options.folder.iterdir()) == []


def test_an_evaluation_is_measured_beside_its_forward_runs(options, monkeypatch):
    monkeypatch.setattr(evaluation, "BATCHES", {"mlp": 2})
    digits, mlp = evaluation.measure(options).figures
    assert (digits.name, mlp.name) == (
        "digits_cnn: evaluation of a batch",
        f"{evaluation.SUBJECTS['mlp'].title}: evaluation of a batch",
    )
    assert (mlp.kind, len(mlp.values)) == ("difference", 15)
    assert min(mlp.ours + mlp.theirs) > 0


def test_a_data_set_that_is_not_there_is_skipped(options, tmp_path, monkeypatch):
    text = ours.FASHION.read_text().replace("/usr/share/datasets", str(tmp_path)).replace("_base_: [", "_base_: [../")
    (tmp_path / "configs").mkdir()
    (tmp_path / "_base_").mkdir()
    (tmp_path / "_base_/runtime.yml").write_text((ours.FASHION.parent / "_base_/runtime.yml").read_text())
    (tmp_path / "configs/fashion_cnn.yml").write_text(text)
    monkeypatch.setattr(loader, "FASHION", tmp_path / "configs/fashion_cnn.yml")
    found = loader.measure(options)
    images = tmp_path / "fashion-mnist/train-images-idx3-ubyte.gz"
    said = f"loader: there is no {images}: on Debian and Ubuntu, apt-get install dataset-fashion-mnist"
    assert (found.figures, found.skipped) == ([], [said])


def test_the_start_of_a_run_is_timed_in_its_parts():
    parts = []
    seconds = startup._begin("digits", parts)()
    assert len(parts[0]) == len(startup.PARTS)
    assert 0 < sum(parts[0]) < seconds


def test_a_process_that_ends_without_an_answer(quick):
    with pytest.raises(TrainingError, match=r"^the process of benchmarks.ours:nothing ended with 1$"):
        peer.compare(15, ("benchmarks.ours:nothing",))
    with pytest.raises(TrainingError, match=r"^python -c pass ended with 0$"):
        startup._until_said("-c", "pass")


def test_a_first_step_whose_asker_has_gone_ends_without_a_word():
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "benchmarks.first_step", "digits"]
    process = subprocess.Popen(command, cwd=peer.ROOT, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None
    process.stdout.close()
    assert "BrokenPipeError" not in process.communicate(timeout=120)[1]
    assert process.returncode == 1


def test_ctrl_c_ends_all_processes():
    """While the sides start. A process that keeps stderr open would make this test wait."""
    command, pipe = [sys.executable, peer.ROOT / "tools/benchmark.py", "ema"], subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    assert process.stderr is not None
    said = process.stderr.readline()
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=30)[1] == ""
    assert (said, process.returncode) == ("measuring: ema ...\n", 130)


def test_help_names_every_command():
    command = [sys.executable, peer.ROOT / "tools/benchmark.py", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    listed = [line.split()[0] for line in done.stdout.partition("commands:\n")[2].splitlines()]
    assert listed == list(COMMANDS)


def test_a_subject_is_a_config_of_one_batch():
    made = Subject("A", "mlp", {}, 4, (3,)).config({})
    assert made["data"]["train"]["samples"] == made["data"]["train"]["batch_size"] == 4
    assert step.OURS == "benchmarks.ours:step"
