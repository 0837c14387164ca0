"""Draws a metric of groups of runs over epochs: the mean over runs with a band, for each set of weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ppema.config import RAW
from ppema.experiments.comparison.gathering import RunGroup
from ppema.log.curves import figure

_COLOURS = 10  # in matplotlib's cycle
_INSIDE = 4  # lines for which a legend has room in the axes
_STYLES = ("solid", "dashed", "dotted", "dashdot")


def draw_groups(groups: Sequence[RunGroup], weights: Iterable[str], metric: str, file: Path) -> None:
    """Draw `metric` as an image at `file`: a colour for each group; raw weights are thin, averages thick, each in its style.

    A line is the mean over the runs that have an evaluation at this step, all of them or none; its band is one sample standard
    deviation on both sides. Raises DataError if the file can not be written.
    """
    drawn = list(dict.fromkeys(weights))
    averages = [name for name in drawn if name != RAW]
    found: list[np.ndarray] = []
    with figure(file) as axes:
        for number, group in enumerate(groups):
            for name in drawn:
                epochs, means, spreads = mean_curve(group, name, metric)
                if not len(epochs):
                    continue
                found.append(means[np.isfinite(means)])
                style: dict[str, Any] = {"linewidth": 0.8, "alpha": 0.7}
                if name != RAW:
                    style = {"linewidth": 2, "linestyle": _STYLES[averages.index(name) % len(_STYLES)]}
                colour = f"C{number % _COLOURS}"
                label = f"{group.name}: {name}" if len(groups) > 1 else name
                axes.plot(epochs, means, label=label, color=colour, **style)
                axes.fill_between(epochs, means - spreads, means + spreads, color=colour, alpha=0.15, linewidth=0)
        # The first evaluations are far off, and would flatten the later ones. The last ones are always shown.
        if values := [each for each in found if each.size]:
            low, high = np.quantile(np.concatenate(values), (0.05, 0.95))
            last = [each[-1] for each in values]
            low, high = min(low, *last), max(high, *last)
            margin = 0.1 * (high - low) or 0.1
            axes.set_ylim(low - margin, high + margin)
        axes.set_xlabel("epoch")
        axes.set_ylabel(metric)
        beside: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)} if len(found) > _INSIDE else {}
        axes.legend(frameon=False, fontsize="small", **beside)


def mean_curve(group: RunGroup, weights: str, metric: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Epochs, means and spreads of the steps at which all runs of the group with these weights evaluated them.

    The spread of a single run is 0. A value that is not finite is a gap.
    """
    runs = [run.evaluations[weights] for run in group.runs if weights in run.evaluations]
    values = [{each.step: each.figures.get(metric) for each in run} for run in runs]
    shared = [each for each in (runs[0] if runs else ()) if all(each.step in run for run in values)]
    table = np.array([[run[each.step] for run in values] for each in shared], np.float64).reshape(len(shared), len(runs))
    spreads = table.std(axis=1, ddof=1) if len(runs) > 1 else np.zeros(len(shared))
    return np.array([each.epoch for each in shared]), table.mean(axis=1) if shared else np.array([]), spreads
