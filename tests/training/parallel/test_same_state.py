"""Ranks that would train different things end in one line, and statistics count by the samples of a step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from support.launched import launch
from support.runs import last

pytestmark = pytest.mark.campaign

CONFIG = """
model: {{name: {model}}}
data:
  train: {{name: npz, path: data.npz, batch_size: 4}}
  eval: {{name: npz, path: data.npz, batch_size: 5}}
optimizer: {{name: SGD}}
lr: 1e-9
averages:
  ema: {{decay: 0.9}}
train: {{epochs: 1, accumulate: 2}}
"""
# Each rank has its own override, that of its number.
SCRIPT = """
import os, sys
from ppema.cli.train import main
rank = int(os.environ["PADDLE_TRAINER_ID"])
sys.exit(main(["-c", "config.yml", "-o", "output=run", *sys.argv[1 + rank].split()]))
"""


def run(folder: Path, model: str, *overrides: str):
    """Two ranks on five samples: in the first micro-batch rank 0 has zeros and rank 1 ones, in the second one rank 1 a one."""
    (folder / "config.yml").write_text(CONFIG.format(model=model))
    (folder / "script.py").write_text(SCRIPT)
    x = np.repeat(np.array([0, 0, 1, 1, 1], np.float32)[:, None], 2, axis=1)
    np.savez(folder / "data.npz", x=x, y=np.array([0, 0, 1, 1, 1], np.int64))
    return launch(2, [str(folder / "script.py"), *(overrides or ("", ""))], cwd=folder)


NORM = """
import paddle


class Norm(paddle.nn.Sequential):
    def __init__(self):
        super().__init__(paddle.nn.BatchNorm1D(2), paddle.nn.Linear(2, 2))
"""


def test_statistics_count_by_the_samples_of_the_step(tmp_path):
    (tmp_path / "norm.py").write_text(NORM)
    job = run(tmp_path, "norm.Norm")
    assert job.code == 0, job.outputs
    found = load_file(last(tmp_path / "run") / "raw.safetensors")["batch_norm1d_0.w_1"]
    # With the momentum 0.9, rank 0 has the mean 0 and rank 1 has 0.1. Paddle leaves out a batch of a single sample.
    np.testing.assert_allclose(found, (2 * 0.0 + 3 * 0.1) / 5, rtol=1e-6)


def test_a_count_that_ranks_do_not_share_is_found_before_it_is_saved(tmp_path):
    job = run(tmp_path, "support.models.Counting")
    assert job.code not in (0, None) and job.left == 0
    assert "of rank 1 has other bits than that of rank 0, so the state is not saved" in job.terminal, job.terminal
    assert not list((tmp_path / "run").glob("checkpoints/step-*"))


def test_ranks_with_different_configs_end_before_the_first_step(tmp_path):
    (tmp_path / "norm.py").write_text(NORM)
    job = run(tmp_path, "norm.Norm", "averages.ema.decay=0.9", "averages.ema.decay=0.99")
    assert job.code not in (0, None) and job.left == 0
    assert "averages.ema.decay differs between the ranks: it is 0.9 on rank 0 and 0.99 on rank 1" in job.terminal, job.terminal
    assert not list((tmp_path / "run").glob("checkpoints/step-*"))
