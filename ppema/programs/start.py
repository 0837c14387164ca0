"""Seeds the generators of random numbers, and runs the startup program."""

from __future__ import annotations

import random

import numpy as np
import paddle

from ppema.config import Config
from ppema.errors import ConfigError, TrainingError
from ppema.ir import Program
from ppema.programs.executor import Executor


def initialise(config: Config, executor: Executor, startup: Program) -> None:
    """Give every variable its initial value in the current scope. Raises ConfigError at "model" if that fails."""
    with config.at("model"):
        try:
            executor.once(startup, {})
        except TrainingError as error:
            raise ConfigError.of(f"the initial values can not be made: {error}") from error


def seed_everything(seed: int) -> None:
    """Seed the generators from which models and data sets may draw while they are built. seed: ≥ 0."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    paddle.seed(seed)
