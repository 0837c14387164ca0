"""What the tests of whole runs share: a small run of 28 steps, and what it leaves behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from ppema.checkpoint.store import Checkpoints
from ppema.config import Config, load_config
from ppema.log.records import read_metrics

SMALL = """
model: {name: support.models.Nested, args: {classes: 3}}
data:
  train: {name: synthetic, samples: 50, shape: [1, 8, 8], classes: 3, batch_size: 8, shuffle: true}
  eval: {name: synthetic, samples: 21, shape: [1, 8, 8], classes: 3, batch_size: 8, split: test}
optimizer: {name: Momentum, args: {momentum: 0.9}}
lr: {name: CosineAnnealingDecay, args: {learning_rate: 0.05, T_max: 100 %}, warmup: 5 steps}
averages: {ema: {decay: 0.9}, quick: {decay: 0.99, thres_steps: true}}
train: {epochs: 4, log_every: 5 steps, eval_every: 10 steps, save_every: 10 steps, monitor: ema/accuracy}
"""
# A rate that falls when evaluations do not get better, by the threshold to be filled in.
PLATEAU = "lr={name: ReduceOnPlateau, args: {learning_rate: 0.08, patience: 0, threshold: %s, threshold_mode: abs}}"
COMPENSATED = "averages.quick.precision=compensated"


def loader(folder: Path, text: str = SMALL) -> Callable[..., Config]:
    """Loads the config `text` with overrides; its run goes to the folder `run` in `folder`, unless they say otherwise."""
    (folder / "small.yml").write_text(text)
    return lambda *overrides: load_config(folder / "small.yml", [f"output={folder / 'run'}", *overrides])


def content(folder: Path) -> dict[str, bytes]:
    """The arrays of a checkpoint, and of its manifest what does not depend on the folder or the clock."""
    manifest = json.loads((folder / "manifest.json").read_text())
    kept = {key: value for key, value in manifest.items() if key not in ("config", "checksum")}
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")} | {"manifest": json.dumps(kept).encode()}


def last(output: Path) -> Path:
    return Checkpoints(output / "checkpoints").find("last").path


def losses(output: Path):
    return [(r["step"], r["loss"]) for r in read_metrics(output) if r["kind"] == "train"]
