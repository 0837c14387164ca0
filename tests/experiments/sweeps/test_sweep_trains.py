"""A sweep of real trainings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.sweeps import CONFIG

from ppema.config import load_config
from ppema.experiments.sweeps.search.space_checks import space_of
from ppema.experiments.sweeps.sweeping import run_sweep
from ppema.training.loop import train

SHORT = ("train={epochs: 4, log_every: 10 steps, eval_every: 1 epoch, save_every: 1 epoch}",)
# Figures of the machine, not of the run.
TIMES = ("samples_per_second", "data_wait", "memory_mib", "seconds")


def records(output):
    found = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in each.items() if key not in TIMES} for each in found]


@pytest.mark.campaign
def test_a_trial_is_the_same_run_alone_byte_for_byte(here):
    made = space_of(CONFIG, SHORT, over=["lr=0.003,0.01"], monitor="ema/accuracy", lengths=True, jobs=1)
    results = run_sweep(made).results
    assert results.output == "runs/digits_mlp-sweep"
    assert [each.state for each in results.trials] == ["complete"] * 2
    trial = Path(results.trials[1].runs[0].output)
    config = load_config(trial / "config.yml")
    assert (config.lr.args["learning_rate"], config.runtime.threads) == (0.01, 1)
    alone = Path("alone")
    train(config.replace(output=str(alone)))
    assert (alone / "config.yml").read_text() == (trial / "config.yml").read_text().replace(str(trial), str(alone))
    assert records(alone) == records(trial)
    files = sorted(path.relative_to(alone) for path in alone.rglob("*.safetensors"))
    assert len(files) > 8
    for file in files:
        assert (alone / file).read_bytes() == (trial / file).read_bytes(), file
    assert results.trials[1].value == records(trial)[-2]["accuracy"]
    # A search of lengths belongs to the sweep: it follows the run.
    table = json.loads((trial / "averages/sweep.json").read_text())
    best = max(row["metrics"]["accuracy"] for row in table["rows"])
    length = results.trials[1].length
    assert length is not None and length.value == best
