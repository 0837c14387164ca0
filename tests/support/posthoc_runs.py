"""What the tests of post-hoc averages share: a small run that keeps snapshots, and a checkpoint of every step."""

from __future__ import annotations

from pathlib import Path

from ppema.config import Config, load_config

CONFIG = """
model: {name: cnn, args: {in_channels: 1, num_classes: 3, widths: [4]}}
data:
  train: {name: synthetic, samples: 80, shape: [1, 8, 8], classes: 3, batch_size: 8, shuffle: true, noise: 2.0}
  eval: {name: synthetic, samples: 60, shape: [1, 8, 8], classes: 3, batch_size: 30, noise: 2.0, split: test}
optimizer: {name: Momentum, args: {momentum: 0.9}}
lr: 0.05
averages: {narrow: {sigma_rel: 0.05}, wide: {sigma_rel: 0.10}}
train: {epochs: 12, save_every: 10 steps, eval_every: 4 epochs, snapshot_every: 10 steps}
"""


def small(folder: Path, *overrides: str) -> Config:
    """The small config, with `overrides`, as a file in `folder`; its run goes to <folder>/run unless they say otherwise."""
    file = folder / "small.yml"
    file.write_text(CONFIG)
    return load_config(file, [f"output={folder / 'run'}", *overrides])
