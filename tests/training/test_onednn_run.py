"""`runtime.onednn` in a run: where it is used, the run's messages about it, and the record in checkpoints."""

from __future__ import annotations

import json
from collections import Counter

import paddle
import pytest
from support.configs import loader
from support.runs import content, last

from ppema.cli.show import main as show
from ppema.errors import ConfigError
from ppema.evaluation.prepared import prepare_evaluation
from ppema.ir import backend, onednn_layout
from ppema.passes.placement import Placement
from ppema.programs.device import onednn_of
from ppema.training.loop import train
from ppema.training.setup import prepare_training

WHY = backend().onednn_hindrance()
placing = pytest.mark.skipif(WHY is not None, reason=f"oneDNN: {WHY}")
SAID = "computes 2 conv2d, 2 conv2d_grad"
CNN = "{name: cnn, args: {in_channels: 1, num_classes: 3, widths: [4, 5]}}"


@pytest.fixture
def config(tmp_path):
    return loader(tmp_path, model=CNN)


def kinds(program):
    return {op.kind for op in backend().operations(program) if "conv2d" in op.kind}


def lines(output):
    return [line for line in (output / "log.txt").read_text().splitlines() if "onednn" in line.lower()]


def manifest(output):
    return json.loads((last(output) / "manifest.json").read_text())


@placing
def test_what_is_run_at_every_step_or_batch_is_on_it_and_what_may_leave_the_run_is_not(config, tmp_path):
    made = config("averages.quick.batch_norm=recalibrate")
    run = prepare_training(made)
    assert kinds(run.programs.train) == {"onednn_op.conv2d", "onednn_op.conv2d_grad"}
    assert set(run.tests) == set(run.programs.tests)
    for program in (*run.tests.values(), *run.programs.recalibrations.values()):
        assert kinds(program.program) == {"onednn_op.conv2d"}
    for test in (run.programs.model.test, *run.programs.tests.values()):
        assert kinds(test.program) == {"conv2d"}
        paddle.save(test.program, str(tmp_path / "test.json"))
        assert kinds(paddle.load(str(tmp_path / "test.json"))) == {"conv2d"}
    assert kinds(prepare_evaluation(made).model.test.program) == {"onednn_op.conv2d"}


def test_turned_off_it_is_nowhere(config):
    made = config("runtime.onednn=off")
    run = prepare_training(made)
    tests = [*run.tests.values(), *run.programs.tests.values(), prepare_evaluation(made).model.test]
    programs = [run.programs.train, *(test.program for test in tests)]
    assert set().union(*map(kinds, programs)) == {"conv2d", "conv2d_grad"}
    assert run.kernels == "not used: turned off by runtime.onednn"


@placing
def test_a_run_says_what_it_computes_and_its_checkpoints_record_it(config, tmp_path):
    train(config("train.stop_after=4 steps"))
    assert lines(tmp_path / "run") == [f"onednn: {SAID}"]
    assert manifest(tmp_path / "run")["onednn"] is True


@placing
def test_going_on_without_it_is_said(config, tmp_path):
    train(config("train.stop_after=4 steps"))
    train(config("train.stop_after=8 steps", "runtime.onednn=off"))
    warning = "warning: oneDNN was used, now not used: the last bits of the weights may differ from now on"
    assert lines(tmp_path / "run") == [f"onednn: {SAID}", warning]
    assert "onednn" not in manifest(tmp_path / "run")


@placing
def test_going_on_with_other_layers_is_said(config, tmp_path, monkeypatch):
    """The last step of softmax, GELU's gradient and LayerNorm's rounds differently in ppema's C++ operations."""
    train(config("train.stop_after=4 steps"))
    assert "own_layers" not in manifest(tmp_path / "run")
    monkeypatch.setattr(Placement, "own_layers", True)
    train(config("train.stop_after=8 steps"))
    said = "softmax, GELU or LayerNorm in C++ was not used, now used"
    warnings = [line for line in (tmp_path / "run/log.txt").read_text().splitlines() if "last bits" in line]
    assert warnings == [f"warning: {said}: the last bits of the weights may differ from now on"]
    assert manifest(tmp_path / "run")["own_layers"] is True


@pytest.mark.parametrize(
    ("kinds", "differ"), [({}, False), ({"add": 2, "add_grad": 2}, False), ({"add": 1, "gelu_grad": 1}, True)]
)
def test_layers_differ_unless_they_only_add_biases(kinds, differ):
    assert Placement(Counter(), Counter(), Counter(kinds)).own_layers is differ


def test_a_model_without_convolutions_says_and_records_nothing(config, tmp_path):
    train(config("model={name: mlp, args: {in_features: 64, num_classes: 3}}", "train.stop_after=2 steps"))
    assert lines(tmp_path / "run") == []
    assert "onednn" not in manifest(tmp_path / "run")


@placing
def test_a_resumed_run_ends_with_the_bytes_of_an_undisturbed_one(config, tmp_path):
    train(config())
    train(config(f"output={tmp_path / 'cut'}", "train.stop_after=10 steps"))
    train(config(f"output={tmp_path / 'cut'}"))
    assert content(last(tmp_path / "cut")) == content(last(tmp_path / "run"))


@placing
def test_on_is_auto_where_it_can_be(config):
    assert onednn_of(config("runtime.onednn=on"), paddle.CPUPlace()) == onednn_of(config(), paddle.CPUPlace())


def test_on_where_paddle_can_not(config, monkeypatch):
    monkeypatch.setattr(type(backend()), "onednn_hindrance", lambda _: "it is raining")
    assert onednn_of(config(), paddle.CPUPlace()).why == "it is raining"
    with pytest.raises(ConfigError) as error:
        prepare_training(config("runtime.onednn=on"))
    said = "override runtime.onednn: oneDNN can not be used: it is raining; use auto or off"
    assert str(error.value) == said


def test_on_a_gpu_it_is_not_used(config):
    place = object()  # a CUDAPlace can not be made without a GPU
    assert onednn_of(config(), place).why == "it computes on CPUs only"
    with pytest.raises(ConfigError, match="runtime.onednn: oneDNN can not be used: it computes on CPUs only; use auto or off"):
        onednn_of(config("runtime.onednn=on"), place)


def test_show_says_which_it_is(config, tmp_path, capsys):
    config()
    for setting, said in (
        ("auto", SAID if WHY is None else f"not used: {WHY}"),
        ("off", "not used: turned off by runtime.onednn"),
    ):
        assert show(["-c", str(tmp_path / "small.yml"), "-o", f"runtime.onednn={setting}"]) == 0
        assert capsys.readouterr().out.partition("\nKernels\n")[2].splitlines()[:2] == ["oneDNN", said]


def test_what_it_can_be(tmp_path):
    with pytest.raises(ConfigError, match="runtime.onednn: expected 'auto', 'on' or 'off', got 'yes'"):
        loader(tmp_path)("runtime.onednn=yes")


@placing
def test_a_run_is_prepared_whatever_layout_a_program_before_it_left(config):
    """A model is tried out once, on a few samples, before anything else runs."""
    layout = onednn_layout._thread_layout()
    assert layout is not None
    of_thread, put = layout
    put(of_thread(), 1)  # NHWC among common::DataLayout
    try:
        prepare_training(config()).close()
    finally:
        put(of_thread(), onednn_layout._CHANNELS_FIRST)
