"""The folders of examples/: each trains, its average is no worse than its raw weights, and a resumed run has the same bytes.

Those for Fashion-MNIST take ten minutes each: here they take a few steps.
"""

from __future__ import annotations

from importlib import import_module
from math import prod
from pathlib import Path

import numpy as np
import paddle
import pytest
from support.commands import ROOT
from support.runs import content, last

import ppema
from ppema.ir import backend

EXAMPLES = ROOT / "examples"
# The metric of each example, and whether more is better.
METRICS = {
    "segmentation/config.yml": ("iou", True),
    "text/config.yml": ("accuracy", True),
    "tabular/config.yml": ("r2", True),
    "characters/config.yml": ("perplexity", False),
    "finetune/pretrain.yml": ("accuracy", True),
    "finetune/finetune.yml": ("accuracy", True),
}
# Trained on images of noise here: the tests need no files.
FASHION = ["fashion/two_convolutions.yml", "fashion/resnet18.yml"]


def config_of(name: str, output: Path, *overrides: str):
    return ppema.load_config(EXAMPLES / name, [f"output={output}", *overrides])


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> Path:
    """A finished run of pretrain.yml, from which finetune.yml starts."""
    output = tmp_path_factory.mktemp("examples") / "pretrain"
    ppema.train(config_of("finetune/pretrain.yml", output))
    return output


def test_every_example_has_its_metric():
    assert {str(path.relative_to(EXAMPLES)) for path in EXAMPLES.glob("*/*.yml")} == {*METRICS, *FASHION}


def test_every_example_is_a_recipe():
    page = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
    assert [name for name in [*METRICS, *FASHION] if f"examples/{name}" not in page] == []


@pytest.mark.parametrize("name", [*METRICS, *FASHION])
def test_every_config_loads(name, tmp_path):
    assert "ema" in config_of(name, tmp_path).averages


@pytest.mark.campaign
@pytest.mark.parametrize("name", METRICS)
def test_the_average_is_no_worse_and_resuming_changes_no_byte(name, pretrained, tmp_path):
    given = [f"init_from.path={pretrained}"] if name == "finetune/finetune.yml" else []
    metric, more = METRICS[name]
    whole = ppema.train(config_of(name, tmp_path / "whole", *given))
    raw, ema = (whole.metrics[weights][metric] for weights in ("raw", "ema"))
    assert ema >= raw if more else ema <= raw

    # A stop in the middle of an epoch.
    at = whole.state.step // 3 + 1
    ppema.train(config_of(name, tmp_path / "parts", *given, f"train.stop_after={at} steps"))
    ppema.train(config_of(name, tmp_path / "parts", *given))
    assert content(last(tmp_path / "parts")) == content(last(tmp_path / "whole"))


def fashion(name: str, output: Path, *overrides: str):
    """The config for a run of four steps, on noise of Fashion-MNIST's shape."""
    noise = "{_replace_: true, name: synthetic, samples: 16, shape: [1, 28, 28], classes: 10, batch_size: 4}"
    return config_of(name, output, f"data.train={noise}", f"data.eval={noise}", "train.epochs=1", *overrides)


def test_two_convolutions_are_as_small_as_the_published_network(tmp_path):
    programs = ppema.build(fashion("fashion/two_convolutions.yml", tmp_path))
    shapes = [tuple(parameter.shape) for parameter in backend().parameters(programs.train)]
    assert sorted(len(shape) for shape in shapes if len(shape) > 1) == [2, 2, 4, 4]
    assert sum(prod(shape) for shape in shapes) <= 500_000


def test_only_evaluations_of_a_mirrored_network_see_mirror_images(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES / "fashion")
    network = import_module("convolutions").Convolutions

    main, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup), paddle.static.scope_guard(scope):
        images = paddle.static.data("images", [2, 1, 8, 8], "float32")
        model = network(widths=[2, 3], hidden=4, dropout=0.0, size=8, mirrored=True)
        trained = model(images)
        model.eval()
        evaluated = model(images)
        executor = paddle.static.Executor(paddle.CPUPlace())
        executor.run(startup)
        first = np.random.default_rng(0).normal(size=(1, 1, 8, 8)).astype("float32")
        pair = np.concatenate([first, first[..., ::-1]])
        trained, evaluated = executor.run(main, {"images": pair}, [trained, evaluated])
    np.testing.assert_allclose(evaluated[0], evaluated[1], rtol=1e-5)
    assert np.abs(trained[0] - trained[1]).max() > 1e-3


@pytest.mark.campaign
@pytest.mark.parametrize("name", FASHION[:2])
def test_resuming_a_network_for_fashion_mnist_changes_no_byte(name, tmp_path):
    ppema.train(fashion(name, tmp_path / "whole"))
    ppema.train(fashion(name, tmp_path / "parts", "train.stop_after=3 steps"))
    ppema.train(fashion(name, tmp_path / "parts"))
    assert content(last(tmp_path / "parts")) == content(last(tmp_path / "whole"))
