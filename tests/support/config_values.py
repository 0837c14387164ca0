"""Configs as Python values: the smallest valid one, and the error lines of another."""

from __future__ import annotations

import pytest

from ppema.config import Config
from ppema.errors import ConfigError

DIGITS = {"name": "digits", "split": "train", "batch_size": 64}
MINIMAL = {
    "model": "pkg.Net",
    "data": {"train": DIGITS, "eval": DIGITS},
    "optimizer": "Adam",
    "lr": 0.1,
    "train": {"epochs": 2},
}


def errors(**changes) -> list[str]:
    """The error lines of the smallest config with these changes."""
    with pytest.raises(ConfigError) as caught:
        Config.model_validate({**MINIMAL, **changes})
    return str(caught.value).splitlines()
