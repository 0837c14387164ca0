"""The paths of a run: its output folder, and its checkpoints."""

from __future__ import annotations

import os
from pathlib import Path

from ppema.checkpoint.store import Checkpoints
from ppema.config import Config
from ppema.config.horizon import Horizon
from ppema.errors import ConfigError, one_line


def output_of(config: Config) -> Path:
    """The folder that a run writes to. Raises ConfigError for an impossible path."""
    output = Path(config.output or "runs/run")
    try:
        os.lstat(output)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        with config.at("output"):
            raise ConfigError.of(one_line(error)) from error
    return output


def checkpoints_of(config: Config, horizon: Horizon | None = None) -> Checkpoints:
    """The checkpoints of the config's run. horizon: the run's length, required for pruning with `train.keep_every`."""
    every = config.train.keep_every
    keep_every = horizon.steps(every) if horizon is not None and every is not None else None
    return Checkpoints(output_of(config) / "checkpoints", keep=config.train.keep, keep_every=keep_every)
