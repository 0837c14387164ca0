"""Swept names that only a run can look up, and the line about them."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.sweeps import space

from ppema.config.swept import parse_swept
from ppema.experiments.sweeps.search.unchecked_names import unchecked_names
from ppema.experiments.sweeps.sweep_progress import beginning


@pytest.mark.parametrize(
    ("key", "values", "named"),
    [
        ("optimizer", "Adam,SGD", True),
        ("optimizer", "{name: SGD},{name: Adam}", True),
        ("optimizer.name", "Adam,SGD", True),
        ("lr", "0.1,0.2", False),
        ("lr", "0.1,{name: CosineAnnealingDecay}", True),
        ("lr.args.learning_rate", "log:1e-3..1e-1", False),
        ("metrics", "[[accuracy],[{name: f1}]]", True),
        ("metrics.1", "f1,auc", True),
        ("metrics.1.args.average", "macro,micro", False),
        ("model.args.activation", "relu,gelu", False),
        ("model.args.block", "{name: a},{name: b}", False),
        ("averages.ema.batch_norm", "average,copy", False),
    ],
)
def test_keys_with_names(key, values, named):
    assert unchecked_names({key: parse_swept(values)}) == [key] * named


def test_the_line_about_them():
    made = space(["optimizer=Adam,SGD", "lr=0.1,0.2"], "grid", None, seeds=2)
    assert beginning(made, Path("s"), 2, 1) == [
        "sweep: 4 trials (grid), 2 runs each, 2 at a time with 1 thread each: s",
        "names in optimizer are looked up when a run starts: an unknown one fails its trial",
    ]
