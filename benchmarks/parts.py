"""Measures the commands of tools/benchmark.py, part by part."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib import import_module

from benchmarks.measure import Found, Options

AIMS = ("share", "optimizer", "large", "step", "memory", "loop")  # the commands whose figures `aims` measures


def measured(commands: Iterable[str], options: Options) -> Iterator[Found]:
    """What each command found; of step, which takes minutes, for each model. With `only_aims`, these are those of AIMS."""
    for name in AIMS if options.only_aims else commands:
        for models in [(each,) for each in options.models] if name == "step" else [options.models]:
            print(f"measuring: {' '.join((name, *models)) if name == 'step' else name} ...", file=sys.stderr, flush=True)
            yield import_module(f"benchmarks.{name}").measure(replace(options, models=models))
