"""Draws the measures of a run's evaluations, for the raw weights and every average."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ppema.checkpoint.best import FigureNames
from ppema.config import RAW
from ppema.errors import DataError
from ppema.log.records import measures_of, read_metrics


def draw_curves(output: Path, metric: str, file: Path) -> None:
    """Draw `metric` against epochs as an image at `file`, with a line for each set of weights in the run's metrics.jsonl.

    Raises DataError if the run has no evaluation of that metric, or if the file can not be written.
    """
    records = [record for record in read_metrics(output) if record["kind"] == "eval"]
    if not records:
        raise DataError(f"{output / 'metrics.jsonl'}: it holds no evaluation: train first")
    figures = FigureNames(measures_of(records[0]), [key for key, value in records[0].items() if isinstance(value, list)])
    if fault := figures.fault(metric):
        raise DataError(f"{output / 'metrics.jsonl'}: {fault}")
    with figure(file) as axes:
        for weights in dict.fromkeys(record["weights"] for record in records):
            # A non-finite value is null in the records, and a gap in the line.
            points = [(record["epoch"], _number(record.get(metric))) for record in records if record["weights"] == weights]
            style: dict[str, Any] = {"color": "0.65", "linewidth": 1} if weights == RAW else {"linewidth": 2}
            epochs, values = zip(*points, strict=True)
            axes.plot(epochs, values, label=weights, **style)
        # The first evaluations are far off, and would flatten the later ones.
        finite = [record[metric] for record in records if record.get(metric) is not None]
        if finite:
            low, high = np.quantile(finite, (0.05, 0.95))
            margin = 0.1 * (high - low) or 0.1
            axes.set_ylim(low - margin, high + margin)
        axes.set_xlabel("epoch")
        axes.set_ylabel(metric)
        axes.legend(frameon=False)


def _number(value: float | None) -> float:
    return np.nan if value is None else value


@contextmanager
def figure(file: Path) -> Iterator[Any]:
    """The axes of a new figure, which is written to `file` at the end of the block. Raises DataError if that fails."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    made, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    try:
        yield axes
        axes.grid(alpha=0.3)
        try:
            made.savefig(file, dpi=120)
        except (OSError, ValueError) as error:
            raise DataError(f"{file}: the figure could not be written: {error}") from error
    finally:
        pyplot.close(made)
