"""The folders of examples/: each trains, its average is no worse than its raw weights, and a resumed run has the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.commands import ROOT
from support.runs import content, last

import ppema

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


def config_of(name: str, output: Path, *overrides: str):
    return ppema.load_config(EXAMPLES / name, [f"output={output}", *overrides])


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> Path:
    """A finished run of pretrain.yml, from which finetune.yml starts."""
    output = tmp_path_factory.mktemp("examples") / "pretrain"
    ppema.train(config_of("finetune/pretrain.yml", output))
    return output


def test_every_example_has_its_metric():
    assert {str(path.relative_to(EXAMPLES)) for path in EXAMPLES.glob("*/*.yml")} == set(METRICS)


@pytest.mark.parametrize("name", METRICS)
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
