"""What works in a Python that has no paddle: the commands checkpoint and compare, and reading a run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.configs import loader
from support.house import modules
from test_architecture import PADDLE_FREE

from ppema.training.loop import train

ROOT = Path(__file__).parents[1]
# paddle can not be imported, and VisualDL, which imports it where it is, neither.
WITHOUT = "import runpy, sys\nsys.modules['paddle'] = sys.modules['visualdl'] = None\n"
COMMAND = f"{WITHOUT}sys.argv = sys.argv[1:]\nsys.path[0] = 'tools'\nrunpy.run_path(sys.argv[0], run_name='__main__')"


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    train(loader(folder)("train.keep=9"))
    return folder / "run"


def python(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout


@pytest.mark.parametrize(
    ("arguments", "last"),
    [
        (["list", "{}", "--json"], lambda found: [each["step"] for each in found] == [10, 20, 28]),
        (["verify", "{}", "--json"], lambda found: len(found) == 4 and not any(found.values())),
        (
            ["diff", "{}/checkpoints/last", "{}/checkpoints/last", "--all", "--json"],
            lambda found: all(e["equal"] for e in found),
        ),
        (["prune", "{}", "--keep", "1", "--dry-run", "--json"], lambda found: all("step-000000" in each for each in found)),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_the_command_checkpoint(output, arguments, last):
    said = python(COMMAND, "tools/checkpoint.py", *(each.format(output) for each in arguments))
    assert last(json.loads(said.splitlines()[-1]))


def test_the_command_compare(output):
    said = python(COMMAND, "tools/compare.py", output, "--json", "--target", "0.1")
    found = json.loads(said.splitlines()[-1])
    assert [(row["weights"], row["runs"][0]["finished"]) for row in found["rows"]] == [
        (weights, True) for weights in ("raw", "ema", "quick")
    ]
    assert all(row["target"]["seconds"]["mean"] > 0 for row in found["rows"])
    assert found["notes"] == ["one run of a seed shows no spread: nothing is tested"]


def test_reading_a_run(output):
    said = python(
        f"""{WITHOUT}
import json, ppema
run = ppema.run(sys.argv[1])
weights = run.last.weights("ema")
json.dump([
    run.config.train.epochs, [each.step for each in run.checkpoints], run.best.manifest.state.step in (10, 20, 28),
    float(sum(abs(array).sum() for array in weights.values())) > 0, [each["step"] for each in run.records.train],
    [(each["step"], each["weights"]) for each in run.records.evaluations][-3:],
], sys.stdout)
""",
        output,
    )
    evaluated = [[28, "raw"], [28, "ema"], [28, "quick"]]
    assert json.loads(said) == [4, [10, 20, 28], True, True, [5, 10, 15, 20, 25, 28], evaluated]


def test_the_rooms_that_know_no_paddle_import_none():
    free = [name for name in modules() if name.partition(".")[2].partition(".")[0] in PADDLE_FREE]
    assert "ppema.checkpoint.store" in free
    # Computes metrics on resamples. `compare` imports it with --intervals only.
    free.remove("ppema.experiments.comparison.sample_intervals")
    python(f"{WITHOUT}import importlib\nfor name in sys.argv[1:]: importlib.import_module(name)", *free)
