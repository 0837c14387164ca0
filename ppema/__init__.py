"""ppema: static-graph training for PaddlePaddle with averages of weights that can be trusted.

Every public name is imported at its first use. `import ppema` and every `--help` therefore do not load paddle, whose thread
count must be chosen before. Config, load_config, run, report, and compare without intervals never load paddle. A sweep trains
in processes of its own. The other functions of `ppema.api` load paddle when they are called, with the threads of the config.
The names in `_LOAD_PADDLE` load it at their first use, with OMP_NUM_THREADS or all cores. Both switch Paddle to static mode.
"""

from __future__ import annotations

import importlib
import warnings

# Imported before paddle, because the wheels of 2.6 crash if zlib is loaded after them.
import zlib  # noqa: F401
from typing import TYPE_CHECKING, Any

from ppema.version import VERSION

if TYPE_CHECKING:
    from ppema.api import average, build, compare, evaluate, export, predict, train
    from ppema.config import Config, load_config
    from ppema.ema.exponential_moving_average import ExponentialMovingAverage
    from ppema.ema.saved import read_state
    from ppema.experiments.pages.report_page import report
    from ppema.experiments.sweeps.sweep_call import sweep
    from ppema.log.run import run
    from ppema.passes.clone import clone_for_test

__version__ = VERSION

# At its import, also in data workers, Paddle 3 warns that a tool for compiling extensions is missing. ppema does not use it.
warnings.filterwarnings("ignore", message="No ccache found")

__all__ = [
    "Config",
    "ExponentialMovingAverage",
    "average",
    "build",
    "clone_for_test",
    "compare",
    "evaluate",
    "export",
    "load_config",
    "predict",
    "read_state",
    "report",
    "run",
    "sweep",
    "train",
]

_LOAD_PADDLE = ("ExponentialMovingAverage", "clone_for_test", "read_state")
_HOME = {
    "Config": "ppema.config",
    "ExponentialMovingAverage": "ppema.ema.exponential_moving_average",
    "average": "ppema.api",
    "build": "ppema.api",
    "clone_for_test": "ppema.passes.clone",
    "compare": "ppema.api",
    "evaluate": "ppema.api",
    "export": "ppema.api",
    "load_config": "ppema.config",
    "predict": "ppema.api",
    "read_state": "ppema.ema.saved",
    "report": "ppema.experiments.pages.report_page",
    "run": "ppema.log.run",
    "sweep": "ppema.experiments.sweeps.sweep_call",
    "train": "ppema.api",
}

if not TYPE_CHECKING:  # With __getattr__, a type checker would accept every name.

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module 'ppema' has no attribute {name!r}")
        if name in _LOAD_PADDLE:
            from ppema.environment import paddle_with

            paddle_with("auto")
        value = globals()[name] = getattr(importlib.import_module(_HOME[name]), name)
        return value
