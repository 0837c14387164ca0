"""Optimizations for speed change no result: the same runs with and without them."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from safetensors.numpy import load_file
from support.configs import loader
from support.kernels import paddle_kernels
from support.runs import content, last, losses

from ppema.errors import TrainingError
from ppema.ir.native import why_missing
from ppema.training.loop import train
from ppema.training.setup import prepare_training


@pytest.fixture
def config(tmp_path):
    return loader(tmp_path)


def test_exe_run_gives_the_same_run_bit_for_bit(config, tmp_path):
    for name in ("auto", "plain"):
        train(config(f"output={tmp_path / name}", f"runtime.executor={name}"))
    auto, plain = tmp_path / "auto", tmp_path / "plain"
    assert content(last(auto)) == content(last(plain))
    assert losses(auto) == losses(plain)


@pytest.mark.parametrize("executor", ["auto", "plain"])
def test_an_operation_that_fails_is_told_in_a_line(config, executor):
    run = prepare_training(config(f"runtime.executor={executor}"))
    short = {"input_0": np.zeros([2, 1, 5, 5], "float32"), "target": np.zeros([2], "int64")}
    with pytest.raises(TrainingError, match="^an operation failed: [^\n]+$"):
        run.executor.run(run.programs.train, short, [run.programs.loss])
    run.close()


@pytest.mark.skipif(why_missing() is not None, reason=f"there are no C++ operations: {why_missing()}")
@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("averages.ema.update_every=3", "averages.ema.start=4 steps", "averages.quick.precision=compensated"),
        ("averages.ema.overwrite_every=7 steps", "averages.ema.overwrite_mix=0.5"),
    ],
)
def test_paddles_operations_give_the_same_run_but_for_rounding(config, tmp_path, overrides):
    train(config(f"output={tmp_path / 'native'}", *overrides))
    with paddle_kernels():
        train(config(f"output={tmp_path / 'paddle'}", *overrides))
    ours, theirs = (last(tmp_path / name) for name in ("native", "paddle"))
    files = sorted(path.name for path in ours.glob("*.safetensors"))
    assert files == sorted(path.name for path in theirs.glob("*.safetensors"))
    for name in files:
        a, b = load_file(ours / name), load_file(theirs / name)
        assert a.keys() == b.keys()
        for variable in a:
            if variable.endswith(".rest"):
                continue  # the parts lost by rounding are not comparable
            scale = np.linalg.norm(b[variable].astype("float64"))
            difference = np.linalg.norm(a[variable].astype("float64") - b[variable].astype("float64"))
            assert difference <= 2e-6 * scale, (name, variable)


@pytest.mark.parametrize("executor", ["auto", "plain"])
def test_a_closed_run_has_freed_its_activations_and_can_run_again(config, executor):
    run = prepare_training(config(f"runtime.executor={executor}"))
    batch = next(iter(run.train_loader.epoch(0)))
    feed = run.programs.model.inputs.feed(batch, run.train_loader)
    with paddle.static.scope_guard(run.scope):
        test = run.tests["raw"]
        before = run.executor.run(test.program, feed, test.measures["loss"].variables)
        run.close()
        run.close()
        again = run.executor.run(test.program, feed, test.measures["loss"].variables)
    assert before[0].tobytes() == again[0].tobytes()
    run.close()
