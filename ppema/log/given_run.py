"""What a caller gives for a run: its config, what `ppema.run` returns, or a path. No paddle."""

from __future__ import annotations

import os

from ppema.config import Config
from ppema.errors import PpemaError
from ppema.log.run import Run, run


def config_of(given: Config | Run | str | os.PathLike[str]) -> Config:
    """The config of a run: itself, a `Run`, or the path of the run's folder. Raises PpemaError if that is no run."""
    if isinstance(given, Config):
        return given
    if isinstance(given, Run):
        return given.config
    if not isinstance(given, str | os.PathLike):
        kind = type(given).__name__
        raise PpemaError(f"expected a config, what ppema.run returns, or the path of a run's folder; got a {kind}")
    if os.path.isfile(given):
        raise PpemaError(
            f"{os.fspath(given)}: expected the output folder of a run, or a config: load_config({os.fspath(given)!r})"
        )
    return run(given).config


def check_config(config: Config) -> None:
    """Raise PpemaError for anything but a `Config`; for a path or a `Run`, the message has the call that makes one of it."""
    if isinstance(config, Config):
        return
    remedy = ""
    if isinstance(config, Run):
        remedy = f": ppema.run({str(config.path)!r}).config"
    elif isinstance(config, str | os.PathLike):
        path = os.fspath(config)
        remedy = f": ppema.run({path!r}).config" if os.path.isdir(path) else f": ppema.load_config({path!r})"
    raise PpemaError(f"config: expected what ppema.load_config returns, got a {type(config).__name__}{remedy}")
