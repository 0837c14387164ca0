"""Configs that tests load: small ones, composed of sections and written to a folder, and those of the checkout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ppema.config import Config, load_config

CONFIGS = Path(__file__).parents[2] / "configs"
# The sections of a config by key, in YAML.
Sections = Mapping[str, str]


def blobs(keys: str, split: str = "train") -> str:
    """The spec of a synthetic data set of images [1, 8, 8] in three classes, with additional `keys`."""
    mode = "shuffle: true" if split == "train" else f"split: {split}"
    return f"{{name: synthetic, shape: [1, 8, 8], classes: 3, {keys}, {mode}}}"


def data_section(train: str, evaluation: str) -> str:
    """The section `data` with two specs."""
    return f"\n  train: {train}\n  eval: {evaluation}"


# 28 steps with shuffling, dropout, BatchNorm, a warm-up, momentum, and averages of two kinds.
SMALL: Sections = {
    "model": "{name: support.models.Nested, args: {classes: 3}}",
    "data": data_section(blobs("samples: 50, batch_size: 8"), blobs("samples: 21, batch_size: 8", "test")),
    "optimizer": "{name: Momentum, args: {momentum: 0.9}}",
    "lr": "{name: CosineAnnealingDecay, args: {learning_rate: 0.05, T_max: 100 %}, warmup: 5 steps}",
    "averages": "{ema: {decay: 0.9}, quick: {decay: 0.99, thres_steps: true}}",
    "train": "{epochs: 4, log_every: 5 steps, eval_every: 10 steps, save_every: 10 steps, monitor: ema/accuracy}",
}
# 14 steps of a model that Paddle can also build without ppema, with an average of each policy for BatchNorm.
CNN: Sections = {
    **SMALL,
    "model": "{name: cnn, args: {in_channels: 1, num_classes: 3, widths: [4]}}",
    "lr": "0.05",
    "averages": "\n  ema: {decay: 0.9}\n  tensorflow: {decay: 0.9, bias_correction: false}\n"
    "  measured: {decay: 0.9, batch_norm: recalibrate}",
    "train": "{epochs: 2, log_every: 5 steps}",
}
# 120 steps, with a snapshot after every tenth for post-hoc averages.
SNAPSHOTS: Sections = {
    **CNN,
    "data": data_section(
        blobs("samples: 80, batch_size: 8, noise: 2.0"), blobs("samples: 60, batch_size: 30, noise: 2.0", "test")
    ),
    "averages": "{narrow: {sigma_rel: 0.05}, wide: {sigma_rel: 0.10}}",
    "train": "{epochs: 12, save_every: 10 steps, eval_every: 4 epochs, snapshot_every: 10 steps}",
}
# A rate that falls when evaluations do not improve by a threshold, which a test fills in.
PLATEAU = "lr={name: ReduceOnPlateau, args: {learning_rate: 0.08, patience: 0, threshold: %s, threshold_mode: abs}}"
COMPENSATED = "averages.quick.precision=compensated"


def write_config(file: Path, base: Sections = SMALL, **sections: str) -> Path:
    """Write the config of `base` to `file`, with `sections` added or replaced, and return its path."""
    file.write_text("".join(f"{key}: {value}\n" for key, value in {**base, **sections}.items()))
    return file


def loader(folder: Path, base: Sections = SMALL, **sections: str) -> Callable[..., Config]:
    """A function that loads such a config with overrides. By default, its run writes to the folder `run` in `folder`."""
    file = write_config(folder / "small.yml", base, **sections)
    return lambda *overrides: load_config(file, [f"output={folder / 'run'}", *overrides])


def with_snapshots(folder: Path, *overrides: str) -> Config:
    """The config SNAPSHOTS, written to `folder` and loaded with `overrides`."""
    return loader(folder, SNAPSHOTS)(*overrides)


def config(*overrides: str, base: str = "digits_cnn.yml") -> Config:
    """A config of the checkout, with overrides."""
    return load_config(CONFIGS / base, overrides)
