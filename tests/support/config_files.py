"""Config files for tests of the validation: the smallest valid one, and the error lines of another."""

from __future__ import annotations

import pytest

from ppema.config import load_config
from ppema.errors import ConfigError

MINIMAL = """\
model: pkg.Net
data:
  train: {name: digits, split: train, batch_size: 64}
  eval: {name: digits, split: test, batch_size: 64}
optimizer: {name: Momentum, args: {momentum: 0.9}, clip_norm: 1.0}
lr: 1e-1
train: {epochs: 2}
"""


def errors(path="a.yml", *overrides: str) -> list[str]:
    """The error lines of the config at `path` with these overrides."""
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return str(caught.value).splitlines()
