"""`ppema.sweep`, for code; the command line `ppema sweep` has its own options."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ppema.config import Config
from ppema.errors import PpemaError, SetupError
from ppema.experiments.sweeps.search.space_checks import space_of
from ppema.experiments.sweeps.sweeping import SweepOutcome, run_sweep
from ppema.ranks import launched_ranks


def sweep(
    config: Config | str | os.PathLike[str],
    over: Mapping[str, Any] | Sequence[str] = (),
    *,
    method: Literal["grid", "random", "tpe"] | None = None,
    trials: int | None = None,
    seeds: int | None = None,
    jobs: int | None = None,
    monitor: str | None = None,
    mode: Literal["max", "min"] | None = None,
    objective: Literal["last", "best"] | None = None,
    prune: bool | None = None,
    lengths: bool | None = None,
    storage: str | None = None,
    to: str | os.PathLike[str] | None = None,
) -> SweepOutcome:
    """Train a config at many points of a search space, each run in a process of its own, and return the results.

    The same call goes on with a stopped sweep, and takes part in one that runs elsewhere. Each run is an ordinary run in a
    folder of its own; `ppema.run` reads it.

    config: the path of the config's file, or what `load_config` made of it, with its overrides. over: swept keys, in addition
    to those of its section `sweep`: values by key, such as {"lr": [0.01, 0.1], "averages.ema.decay": "0.9..0.999"}, or texts
    "key=values".

    The arguments from `method` to `lengths` replace keys of that section, which docs/config.md describes. None: not given.

    storage: of Optuna, for a sweep on several machines: a URL of SQLAlchemy, or "grpc://host:port". None: a file in the sweep's
    folder. to: the sweep's folder. None: the config's output with "-sweep".

    Raises ConfigError for all faults of keys and values; PpemaError for a folder with something else, and if all trials refuse
    their input; SetupError for one of several ranks, and for a storage that can not be reached; TrainingError if it fails for
    minutes, or if the results can not be written. The trainings save before, and go on with the next call.
    """
    if launched_ranks().size > 1:
        raise SetupError("a sweep starts its trainings itself, from one process: call it without paddle.distributed.launch")
    path, overrides = _file_of(config)
    options = {"method": method, "trials": trials, "seeds": seeds, "jobs": jobs, "monitor": monitor, "mode": mode}
    space = space_of(path, overrides, over=over, **options, objective=objective, prune=prune, lengths=lengths)
    return run_sweep(space, to, storage=storage)


def _file_of(config: Config | str | os.PathLike[str]) -> tuple[str, tuple[str, ...]]:
    """The file and the overrides of a config, from which other processes load it. Raises PpemaError if code made it."""
    if isinstance(config, str | os.PathLike):
        return os.fspath(config), ()
    if not isinstance(config, Config):
        raise PpemaError(f"config: expected the path of a config, or what load_config returns; got a {type(config).__name__}")
    positions = config.positions
    if positions.file is None or positions.replaced:
        raise PpemaError(
            "config: code made or changed it, and each run of a sweep loads it from a file: give `over` the changes"
        )
    return positions.file, positions.overrides
