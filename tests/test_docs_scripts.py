"""Scripts on pages of docs: the metric of docs/metrics.md, and the restoring of docs/restoring.md."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from support.averages import averaged, weights
from support.configs import CNN, data_section, write_config
from support.pages import blocks

from ppema.api import evaluate
from ppema.cli.export import main as export_main
from ppema.config import load_config
from ppema.errors import PpemaError
from ppema.ir import scope
from ppema.training.loop import train
from ppema.weights.pdparams import read_pdparams

MINE = """
import numpy as np
import paddle


class Net(paddle.nn.Linear):
    def __init__(self):
        super().__init__(4, 2)


def right(predictions, targets):
    return paddle.cast(paddle.argmax(predictions, axis=-1) == targets, "float32")


def by_numpy(predictions, targets):
    return np.argmax(predictions.numpy(), axis=-1) == targets
"""


def scripts(name: str) -> list[str]:
    return [block.text for block in blocks("python", f"docs/{name}")]


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """The path of a config, for a metric in mine.py, in a folder of its own that is the current one."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 4)).astype("float32")
    np.savez(tmp_path / "test.npz", x=x, y=(x[:, 0] + rng.normal(size=64) > 0).astype("int64"))
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)

    def config(metric: str) -> Path:
        data = data_section(*["{name: npz, path: test.npz, batch_size: 16}"] * 2)
        return write_config(tmp_path / "mine.yml", CNN, model="mine.Net", data=data, metrics=f"[{metric}]")

    yield config
    sys.modules.pop("mine", None)


def test_a_metric_of_ones_own(mine, tmp_path):
    """Against its formula, in float64, on the predictions of the exported weights."""
    (tmp_path / "my_metrics.py").write_text(*scripts("metrics.md"))
    config = load_config(mine("{name: my_metrics.GMean, args: {classes: 2}}"))
    train(config)
    found, data = evaluate(config)["raw"], np.load("test.npz")
    assert export_main(["-c", "mine.yml", "--weights", "raw", "--to", "raw.pdparams"]) == 0
    weights = read_pdparams(tmp_path / "raw.pdparams")
    right = (data["x"] @ weights["weight"] + weights["bias"]).argmax(-1) == data["y"]
    recall = [right[data["y"] == label].mean() for label in (0, 1)]
    assert found["GMean"] == pytest.approx(np.sqrt(recall[0] * recall[1])) and found["GMean.least"] == min(recall)


def test_a_metric_by_numpy_is_refused(mine):
    with pytest.raises(PpemaError):
        train(load_config(mine("mine.by_numpy")))


@pytest.mark.parametrize("shift", [-100.0, 100.0])
def test_an_if_on_a_variable(shift):
    """Paddle 3 refuses it. Paddle 2.6 takes the first branch, whatever the condition."""
    main = paddle.static.Program()
    with paddle.static.program_guard(main, paddle.static.Program()):
        x = paddle.static.data("x", [4], "float32")
        if not paddle.__version__.startswith("2."):
            with pytest.raises(Exception, match="bool"):
                bool(x.mean() + shift > 0)
        else:
            assert bool(x.mean() + shift > 0)


def test_the_weights_of_variables_to_restore(built, here, tmp_path):
    """The page's lines, in a program without averages."""
    ema = averaged(built, 0.9)
    built.steps(3)
    prefix = str(tmp_path / "model")
    paddle.static.save(built.main, prefix)
    expected = {name: scope.get(built.scope, ema.average_name(name)) for name in weights(built)}
    (script,) = scripts("restoring.md")
    plain = type(built)()
    plain.start()
    with paddle.static.scope_guard(plain.scope):
        exec(script.replace("old/model", prefix), {"paddle": paddle, "static": paddle.static, "main": plain.main, "ema": ema})
    for name, value in expected.items():
        np.testing.assert_array_equal(scope.get(plain.scope, name), value)
