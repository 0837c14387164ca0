"""eval, predict and average of several real processes: every file and line is that of one process."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from support.configs import blobs, data_section, write_config
from support.launched import launch

import ppema
from ppema.cli.average import main as average
from ppema.cli.eval import main as evaluate
from ppema.cli.predict import main as predict
from ppema.config import load_config

SECTIONS = {
    "model": "{name: cnn, args: {in_channels: 1, num_classes: 3, widths: [4]}}",
    # 11 batches of evaluation, the last one of 2 samples.
    "data": "\n  normalize: true"
    + data_section(blobs("samples: 60, batch_size: 8, noise: 4"), blobs("samples: 52, batch_size: 5, noise: 4", "test")),
    "optimizer": "Momentum",
    "lr": "0.05",
    "metrics": "[accuracy, auc, confusion_matrix]",
    "averages": "{narrow: {sigma_rel: 0.05}, measured: {decay: 0.9, batch_norm: recalibrate, recalibrate_batches: 5}}",
    "train": "{epochs: 2, snapshot_every: 4 steps, monitor: narrow/accuracy}",
}


def commands(run: str) -> int:
    """All commands on the run in the folder `run`. Returns the first exit code that is not 0."""
    given = ["-c", "run.yml", "-o", f"output={run}"]
    return (
        evaluate([*given, "--keep-samples", "--json"])
        or evaluate([*given, "--batch-norm", "all", "--json"])
        or next((code for each in ("csv", "jsonl", "npz") if (code := _predicted(given, f"{run}/predicted.{each}"))), 0)
        or average([*given, "--search", "grid", "--points", "2", "--name", "found", "--json"])
    )


def _predicted(given: list[str], to: str) -> int:
    return predict([*given, "--input", "data.eval", "--batch-size", "7", "--to", to])


def files(folder: Path) -> dict[str, bytes]:
    """All files of a run but VisualDL's records, which have the time in their names."""
    found = (each for each in sorted(folder.rglob("*")) if each.is_file() and "vdl" not in each.parts)
    return {str(each.relative_to(folder)): each.read_bytes() for each in found}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The folder of a trained run, and what one process wrote into a copy of it and on stdout."""
    folder = tmp_path_factory.mktemp("ranks")
    ppema.train(load_config(write_config(folder / "run.yml", {}, **SECTIONS), [f"output={folder / 'trained'}"]))
    shutil.copytree(folder / "trained", folder / "run")
    made = launch(1, [__file__, "run"], cwd=folder)
    assert made.code == 0, made.outputs[0]
    return folder, files(folder / "run"), said(made.outputs[0])


def said(output: str) -> list[str]:
    """The tables and results among the lines of a rank."""
    return [line for line in output.splitlines() if line.startswith(("{", "raw", "narrow", "measured", "0.", "average"))]


@pytest.mark.campaign
@pytest.mark.parametrize("ranks", [2, 3, 12])
def test_what_several_ranks_write_and_print_is_what_one_process_does(alone, ranks):
    folder, expected, lines = alone
    assert {"predicted.csv", "predicted.jsonl", "predicted.npz", "averages/found.safetensors"} <= expected.keys()
    assert len(lines) > 10
    shutil.rmtree(folder / "run")
    shutil.copytree(folder / "trained", folder / "run")
    made = launch(ranks, [__file__, "run"], cwd=folder, timeout=400)
    assert made.code == 0, "\n".join(made.outputs)
    assert said(made.outputs[0]) == lines
    found = files(folder / "run")
    assert found.keys() == expected.keys() and [name for name in found if found[name] != expected[name]] == []
    for output in made.outputs[1:]:
        assert said(output) == [] and "weights:" not in output


if __name__ == "__main__":
    sys.exit(commands(sys.argv[1]))
