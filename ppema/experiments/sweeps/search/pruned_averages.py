"""Where pruning would be unfair: trials whose averages lag by different shares of the run."""

from __future__ import annotations

from ppema.config import RAW, AverageSpec, Config, Sweep

# Swept keys that change the number of steps, and those that change the samples in a step.
_LENGTH = ("train.epochs", "train.steps")
_STEP = ("data", "data.train", "data.train.batch_size", "train.accumulate")


def unfair_pruning(config: Config, section: Sweep, monitor: str) -> str | None:
    """The message for a sweep that would prune long averages because they lag at first; None if its pruning is fair.

    An average with a longer window is behind a shorter one in the first part of a run, whichever is better at its end.
    """
    weights, _, metric = monitor.partition("/")
    if not section.prune or weights == RAW:
        return None
    remedy = f"monitor {RAW}/{metric}, or leave out prune"
    spec = config.averages.get(weights)
    for key in section.over:
        if f"averages.{weights}.".startswith(f"{key}.") or key.startswith(f"averages.{weights}."):
            return f"{key} is swept, and a longer average is behind a shorter one until late in the run: {remedy}"
        if spec is not None and _window_differs(spec, key):
            return f"{key} is swept, and so the window of {weights!r} is another share of each run: {remedy}"
    return None


def _window_differs(spec: AverageSpec, key: str) -> bool:
    """Whether the window of an average is another share of the run for each value of `key`."""
    if spec.decay is None and (spec.half_life is None or spec.half_life.unit == "percent"):
        return False
    if key in _LENGTH:
        return True
    in_steps = spec.reference_batch is None if spec.half_life is None else spec.half_life.unit == "steps"
    return in_steps and key in _STEP
