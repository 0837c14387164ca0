"""Training on a GPU in each precision, beside float32. Nothing here has run yet: no machine of ours has a GPU.

`make check-gpu` runs this file.
"""

from __future__ import annotations

import paddle
import pytest
from support.configs import config

from ppema.api import evaluate
from ppema.checkpoint.store import Checkpoints
from ppema.training.loop import train

GPUS = paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not GPUS, reason="needs a GPU, a Paddle that is built for it, and PPEMA_TEST_DEVICE=gpu"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Trains the digits for ten epochs in a precision. Returns the result."""
    results = {}

    def run(precision):
        if precision not in results:
            output = tmp_path_factory.mktemp(precision)
            settings = ("runtime.device=gpu", f"runtime.precision={precision}", f"output={output}", "train.epochs=10")
            results[precision] = train(config(*settings))
        return results[precision]

    return run


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_digits_beside_float32(trained, precision):
    supported = {"bfloat16": paddle.amp.is_bfloat16_supported, "float16": paddle.amp.is_float16_supported}[precision]
    if not supported("gpu:0"):
        pytest.skip(f"this GPU has no {precision}")
    half, full = trained(precision), trained("float32")
    for weights in ("raw", "ema"):
        assert abs(half.metrics[weights]["accuracy"] - full.metrics[weights]["accuracy"]) <= 0.02, weights
        assert abs(half.metrics[weights]["loss"] - full.metrics[weights]["loss"]) <= 0.05, weights
    saved = Checkpoints(half.output / "checkpoints").find("last")
    arrays = [array for part in ("raw", "average-ema") for array in saved.arrays(part).values()]
    assert {str(array.dtype) for array in arrays} <= {"float32", "float64", "int64"}


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_cpu_evaluates_what_a_gpu_trained(trained, precision):
    supported = {"bfloat16": paddle.amp.is_bfloat16_supported, "float16": paddle.amp.is_float16_supported}
    if precision in supported and not supported[precision]("gpu:0"):
        pytest.skip(f"this GPU has no {precision}")
    result = trained(precision)
    settings = ("runtime.device=cpu", f"runtime.precision={precision}", f"output={result.output}", "train.epochs=10")
    measured = evaluate(config(*settings), weights="ema", checkpoint="last")
    assert measured["ema"]["loss"] == pytest.approx(result.metrics["ema"]["loss"], rel=1e-3, abs=1e-4)
