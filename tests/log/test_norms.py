"""The norms of a step, beside those of float64 numpy."""

from __future__ import annotations

import math

import numpy as np
import paddle
import pytest
from support.configs import loader
from support.device import device_place
from support.runs import content, last

from ppema.ir import NativeOp, backend
from ppema.ir.native import why_missing
from ppema.log.records import read_metrics
from ppema.passes.finite import FinitePass
from ppema.passes.norms import KeepPass, NormsPass
from ppema.passes.target import TrainProgram, apply_passes
from ppema.programs.step import BackwardPass, OptimizePass
from ppema.training.loop import train
from ppema.training.stepper import Step, Stepper
from ppema.weights.file import read_weights

# Without momentum and decay, an update is -lr · gradient.
SGD = ("optimizer=SGD", "lr=0.25", "averages={ema: {decay: 0.9}}")
NORMS = ("gradient_norm", "parameter_norm", "update_norm")


@pytest.fixture
def config(tmp_path):
    return loader(tmp_path)


def records(run):
    return [each for each in read_metrics(run) if each["kind"] == "train"]


def norm(arrays):
    return float(np.sqrt(sum(np.sum(np.square(each.astype(np.float64))) for each in arrays)))


def weights(run, step):
    """The trained weights after a step: BatchNorm's scale and shift, and a linear layer's."""
    found = read_weights(run / f"checkpoints/step-{step:08d}/raw.safetensors")
    return {name: array for name, array in found.items() if ".w_1" not in name and ".w_2" not in name}


@pytest.mark.parametrize("accumulate", [1, 2])
def test_norms_are_those_of_numpy_and_change_no_bit(config, tmp_path, accumulate):
    whole, plain = tmp_path / "whole", tmp_path / "plain"
    given = (
        f"train={{accumulate: {accumulate}, "
        + "steps: 6, log_every: 2 steps, eval_every: 6 steps, save_every: 1 step, keep: 9%s}"
    )
    train(config(*SGD, given % ", log_norms: true", f"output={whole}"))
    train(config(*SGD, given % "", f"output={plain}"))
    ours, theirs = content(last(whole)), content(last(plain))
    assert {name: each for name, each in ours.items() if name != "manifest"} == {
        name: each for name, each in theirs.items() if name != "manifest"
    }
    assert [each["step"] for each in records(whole)] == [2, 4, 6]
    assert not set(NORMS) & set(records(plain)[0])
    for record in records(whole):
        before, after = weights(whole, record["step"] - 1), weights(whole, record["step"])
        assert len(after) == 4
        change = norm([after[name].astype(np.float64) - before[name] for name in after])
        assert record["parameter_norm"] == pytest.approx(norm(after.values()), rel=1e-12)
        assert record["update_norm"] == pytest.approx(change, rel=1e-6)
        # Weights are float32, so the update is the gradient's only up to their rounding.
        assert record["gradient_norm"] == pytest.approx(change / 0.25, rel=1e-5)


@pytest.mark.parametrize(
    "given",
    [
        ("groups=[{match: '^norm', frozen_for: 3 steps}]", "averages={ema: {decay: 0.9, overwrite_every: 3 steps}}"),
        ("model={name: cnn, args: {in_channels: 1, num_classes: 3, widths: [4]}}", "optimizer.clip_value=0.01"),
        ("model={name: cnn, args: {in_channels: 1, num_classes: 3, widths: [4]}}", "runtime.onednn=off"),
        ("data.train={name: npz, path: %s, inputs: [images], target: labels, batch_size: 4}", "train.accumulate=2"),
    ],
)
def test_a_run_that_measures_has_the_bytes_of_one_that_does_not(config, tmp_path, given):
    """Phases and overwriting, oneDNN and none, and steps of which some are skipped."""
    rng, found = np.random.default_rng(0), []
    images, labels = rng.normal(size=(64, 1, 8, 8)).astype("float32"), rng.integers(0, 3, 64)
    images[[13, 50]] = np.nan  # in steps 2 and 7
    np.savez(tmp_path / "data.npz", images=images, labels=labels)
    given = [each.replace("%s", str(tmp_path / "data.npz")) for each in given]
    for name, norms in (("whole", "true"), ("plain", "false")):
        length = f"train={{steps: 8, log_every: 2 steps, eval_every: 4 steps, save_every: 8 steps, log_norms: {norms}}}"
        train(config(length, *given, f"output={tmp_path / name}"))
        found.append({key: each for key, each in content(last(tmp_path / name)).items() if key != "manifest"})
    assert found[0] == found[1]
    assert sum("update_norm" in each for each in records(tmp_path / "whole")) >= 2


def test_frozen_weights_do_not_count_until_the_end_of_their_phase(config, tmp_path):
    given = "train={steps: 3, log_every: 1 step, log_norms: true, eval_every: 3 steps, save_every: 1 step, keep: 9}"
    train(config(*SGD, given, "groups=[{match: '^norm[.]', frozen_for: 2 steps}]"))
    logged = [each["parameter_norm"] for each in records(tmp_path / "run")]
    every = [weights(tmp_path / "run", step) for step in (1, 2, 3)]
    assert len(every[0]) == 4
    trained = [norm(array for name, array in found.items() if "norm" not in name) for found in every[:2]]
    np.testing.assert_allclose(logged, [*trained, norm(every[2].values())], rtol=1e-12)


@pytest.mark.usefixtures("kernels")
def test_the_gradient_is_measured_before_clipping_and_not_in_a_skipped_step(config, tmp_path, monkeypatch):
    step = Stepper.run
    monkeypatch.setattr(
        Stepper,
        "run",
        lambda self, batch, state: step(self, batch, state) if state.step < 2 else Step(8, 1, math.nan, "it is 3"),
    )
    given = "train={steps: 3, log_every: 1 step, log_norms: true}"
    train(config(*SGD, given, "optimizer={name: SGD, clip_norm: 0.001}"))
    first, second, skipped = records(tmp_path / "run")
    for each in (first, second):
        assert each["gradient_norm"] > 0.1
        assert each["update_norm"] == pytest.approx(0.25 * 0.001, rel=1e-3)
    assert not set(NORMS) & set(skipped)


DTYPES = ("float32", "float64", "float16", "bfloat16")


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_operation_is_as_exact_as_float64_numpy_for_each_type_and_size(dtype):
    """Large weights of which every number changes a little, as a sum in float32 would lose it."""
    if reason := why_missing():
        pytest.skip(f"there are no C++ operations: {reason}")
    rng, shapes = np.random.default_rng(0), ([1031, 307], [], [7], [0, 3], [16])
    wide = [np.asarray(rng.normal(size=shape) + 3, "float32") for shape in shapes]
    later = [each + np.float32(0.01) for each in wide]
    main = paddle.static.Program()
    with paddle.static.program_guard(main):
        before, after = (
            [paddle.cast(paddle.static.data(f"{side}{index}", shape, "float32"), dtype) for index, shape in enumerate(shapes)]
            for side in "ab"
        )
        (gradient,) = backend().append_native_op(NativeOp("ppema_norm", {"values": before}, {"norm": ([1], "float64")}))
        inputs = {"weights": after, "before": before, "gradient": [gradient]}
        (norms,) = backend().append_native_op(NativeOp("ppema_norms", inputs, {"norms": ([3], "float64")}))
        exact = [paddle.cast(each, "float64") for each in (*before, *after)]
    feed = {f"a{index}": each for index, each in enumerate(wide)} | {f"b{index}": each for index, each in enumerate(later)}
    found, *values = paddle.static.Executor(device_place()).run(main, feed, [norms, *exact])
    old, new = values[: len(shapes)], values[len(shapes) :]
    changes = [each - other for each, other in zip(new, old, strict=True)]
    np.testing.assert_allclose(found, [norm(old), norm(new), norm(changes)], rtol=1e-13)


@pytest.mark.usefixtures("kernels")
def test_a_sparse_gradient_counts_each_row_once():
    """Word 1 comes twice in the batch: its row has the sum of both parts."""
    main, startup, where = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        words = paddle.static.data("words", [-1], "int64")
        target = TrainProgram(main, startup, paddle.nn.Embedding(6, 2, sparse=True)(words).mean())
        chosen = paddle.optimizer.SGD(1.0)
        apply_passes(target, [BackwardPass(chosen), FinitePass(), KeepPass(), OptimizePass(chosen), NormsPass()])
    executor = paddle.static.Executor(device_place())
    with paddle.static.scope_guard(where):
        executor.run(startup)
        executor.run(main, {"words": np.array([1, 1, 4])})
    found = target.norms.read(where)
    # The gradient is 1/6 for each number of a word's row, and for word 1 twice that.
    assert found["gradient_norm"] == pytest.approx(math.sqrt(2 * (1 / 3) ** 2 + 2 * (1 / 6) ** 2), rel=1e-6)
    assert found["update_norm"] == pytest.approx(found["gradient_norm"], rel=1e-6)
