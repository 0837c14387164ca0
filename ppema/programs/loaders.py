"""Builds the loaders of a config's data."""

from __future__ import annotations

from ppema.config import Config
from ppema.data import Loader, build_loader, field_names
from ppema.errors import ConfigError


def train_loader(config: Config, evaluated: Loader) -> Loader:
    """The loader of `data.train`. Raises DataError, and ConfigError if its fields differ from those of `evaluated`."""
    with config.at("data", "train"):
        loader = build_loader(config.data.train, seed=config.seed, label="data.train", names=field_names(config.data))
    if loader.fields != evaluated.fields:
        with config.at("data", "eval"):
            ours, theirs = (", ".join(map(str, each.fields)) for each in (evaluated, loader))
            raise ConfigError.of(f"its samples are {ours}; those of data.train are {theirs}")
    return loader


def eval_loader(config: Config) -> Loader:
    """The loader of `data.eval`. Raises DataError, and ConfigError for `drop_last`."""
    with config.at("data", "eval"):
        if config.data.eval.drop_last:
            raise ConfigError.of("an evaluation covers every sample: remove it", "drop_last")
        return build_loader(config.data.eval, seed=config.seed, label="data.eval", names=field_names(config.data))
