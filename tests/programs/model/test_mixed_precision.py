"""Mixed precision as programs: what computes in a half type, what stays float32, and float16's loss scale in runs.

No CPU trains in half types, so nothing here runs in one. The runs with a loss scale compute in float32.
"""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from support.configs import config, loader
from support.runs import content, last
from support.scaled import without_casts

from ppema.checkpoint.store import Checkpoints
from ppema.config.horizon import Horizon
from ppema.data import Field
from ppema.errors import ConfigError, TrainingError
from ppema.ir import backend, dtype_name
from ppema.optimizers.optimizer import build_lr
from ppema.passes.loss_scaling.scaling import ScaleLossPass
from ppema.passes.target import TrainProgram, apply_passes
from ppema.programs.build import training_step
from ppema.programs.eval_program import build_test_model
from ppema.programs.model.mixed_precision import computed
from ppema.training.loop import dry_run, train
from ppema.training.setup import prepare_training

FIELDS = (Field((1, 8, 8), "float32", "input_0"), Field((), "int64", "target", is_target=True))
HORIZON = Horizon(45, 32, 2)


def built(precision):
    """The train program of a CNN whose convolutions have no bias: their half results reach BatchNorm as they are."""
    settings = config(f"runtime.precision={precision}")
    model = build_test_model(settings, FIELDS)
    target = TrainProgram(paddle.static.Program(), paddle.static.Program())
    with backend().fresh_names(), paddle.static.program_guard(target.main, target.startup):
        lr = build_lr(settings.lr, HORIZON.steps, HORIZON.total_steps)
        apply_passes(target, training_step(settings, FIELDS, HORIZON, model, lr, onednn=False))
    return target, model


@pytest.fixture(scope="module", params=["bfloat16", "float16"])
def half(request):
    if request.param == "float16" and type(backend()).__name__ == "Pir":
        pytest.skip("a CPU build of Paddle 3 can not build a convolution in float16")
    return request.param, *built(request.param)


def test_what_computes_in_a_half_type(half):
    """Convolutions and the matrix product, forward and backward; neither BatchNorm nor loss, optimizer or averages."""
    precision, target, model = half
    kinds = {
        kind.replace("matmul_v2", "matmul"): count for kind, count in backend().computed_in(target.main, precision).items()
    }
    assert {kind: kinds[kind] for kind in ("conv2d", "conv2d_grad", "matmul", "matmul_grad")} == {
        **dict.fromkeys(("conv2d", "conv2d_grad"), 2),
        **dict.fromkeys(("matmul", "matmul_grad"), 1),
    }
    # Beside casts, what follows a matrix product may be half too: the sum with its bias.
    assert set(kinds) <= {"conv2d", "conv2d_grad", "matmul", "matmul_grad", "cast", "elementwise_add", "elementwise_add_grad"}
    norms = backend().computed_in(target.main, "float32")
    assert norms["batch_norm"] + norms["batch_norm_"] == 2
    assert not backend().computed_in(model.test.program, precision)
    words = target.done[0].result.partition("; ")[2]
    assert words.startswith("2 conv2d, ") and words.endswith(f" in {precision}")


def test_weights_gradients_and_averages_stay_float32(half):
    _, target, _ = half
    values = [value for pair in target.gradients for value in pair]
    values += [target.loss, *(shadow for average in target.averages.values() for shadow in average.shadows.values())]
    assert {dtype_name(value) for value in values} == {"float32"}
    assert len(target.gradients) == 8 and {each.dtype for each in target.parameters} == {"float32"}


def test_only_float16_scales_the_loss(half):
    precision, target, _ = half
    names = [each.name for each in target.done]
    assert {"scale loss", "unscale", "adjust scale"}.intersection(names) == (
        {"scale loss", "unscale", "adjust scale"} if precision == "float16" else set()
    )


def test_paddle_is_as_it_was_after_a_build():
    """The casts are for the model's forward pass alone, also where the model fails."""
    main = paddle.static.Program()
    with pytest.raises(KeyError), paddle.static.program_guard(main, paddle.static.Program()):
        with backend().autocast(main, "bfloat16"):
            raise KeyError
    with paddle.static.program_guard(main, paddle.static.Program()):
        image = paddle.static.data("image", [2, 3, 4, 4], "float32")
        value = paddle.nn.BatchNorm2D(3)(paddle.matmul(image, image))
    assert dtype_name(value) == "float32" and not backend().computed_in(main, "bfloat16")


def test_a_model_without_anything_to_cast_is_refused():
    main = paddle.static.Program()
    with paddle.static.program_guard(main, paddle.static.Program()), backend().autocast(main, "bfloat16"):
        paddle.nn.functional.relu(paddle.static.data("x", [-1, 4], "float32"))
    said = "precision: nothing in this model computes in bfloat16: it has no convolution and no matrix product; use float32"
    with pytest.raises(ConfigError) as caught:
        computed(main, "bfloat16")
    assert str(caught.value) == said


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_cpu_is_refused(precision):
    with pytest.raises(ConfigError) as caught:
        prepare_training(config(f"runtime.precision={precision}"))
    assert str(caught.value).endswith(
        f"runtime.precision: {precision} needs a GPU: on a CPU, Paddle lacks most kernels of half types; use float32"
    )


@pytest.fixture
def float16(tmp_path, monkeypatch):
    """Loads configs of runs with a loss scale, which compute in float32."""
    without_casts(monkeypatch)
    load = loader(tmp_path)
    return lambda *overrides: load("runtime={precision: float16, onednn: off}", *overrides)


def arrays(output):
    """The arrays of the last checkpoint without those of the loss scale."""
    checkpoint = Checkpoints(output / "checkpoints").find("last")
    parts = ("raw", "optimizer", "average-ema", "average-quick")
    found = {name: value for part in parts for name, value in checkpoint.arrays(part).items()}
    return {name: value.tobytes() for name, value in found.items() if not name.startswith("loss_scale")}


def test_a_scaled_run_equals_one_in_float32_and_resumes_exactly(float16, tmp_path):
    train(float16())
    train(float16("runtime.precision=float32", f"output={tmp_path / 'plain'}"))
    assert arrays(tmp_path / "run") == arrays(tmp_path / "plain")
    halves = f"output={tmp_path / 'halves'}"
    train(float16(halves, "train.stop_after=17 steps"))
    train(float16(halves))
    assert content(last(tmp_path / "halves")) == content(last(tmp_path / "run"))
    optimizer = Checkpoints(tmp_path / "run/checkpoints").find("last").arrays("optimizer")
    assert (optimizer["loss_scale"], optimizer["loss_scale.good"]) == (2.0**16, 28)


def test_overflows_do_not_count_as_bad_batches(float16, tmp_path, monkeypatch):
    """S begins so large that the first gradients overflow. No skipped step is allowed, and the run ends well."""
    monkeypatch.setattr(ScaleLossPass.__init__, "__defaults__", (2.0**127,))
    result = train(float16("train.max_skipped=0"))
    optimizer = Checkpoints(tmp_path / "run/checkpoints").find("last").arrays("optimizer")
    assert result.state.skipped == optimizer["loss_scale.overflows"] > 0
    log = (tmp_path / "run/log.txt").read_text()
    assert f"; the loss scale is now {2.0**126:.0f}" in log
    assert np.isfinite(dry_run(float16(f"output={tmp_path / 'dry'}")))


def test_bad_batches_count_beside_overflows(float16, tmp_path, monkeypatch):
    """A rate of 1e30 makes the loss infinite, whatever its scale."""
    monkeypatch.setattr(ScaleLossPass.__init__, "__defaults__", (2.0**127,))
    with pytest.raises(TrainingError, match="these are 3 skipped steps, and train.max_skipped is 2"):
        train(float16("train.max_skipped=2", "lr=1e30"))
