"""Draws a confusion matrix as an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_MOST_NUMBERS = 20  # classes up to which each cell has its count
_MOST_NAMES = 40


def confusion_picture(counts: np.ndarray, names: Sequence[str] | None, title: str) -> np.ndarray:
    """The matrix as [height, width, 3] uint8. A cell is as dark as its share of the samples of its true class.

    counts: [C, C], how often class i (row) is true and class j (column) is predicted; names: of the classes, None for numbers.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    classes = len(counts)
    names = [str(label) for label in range(classes)] if names is None else names
    size = min(10.0, 2.5 + 0.45 * classes)
    figure = Figure(figsize=(size, size), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    # A name may have the dollar signs of a formula.
    axes.set_title(title, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if classes <= _MOST_NAMES:
        axes.set_xticks(range(classes), names, rotation=90, parse_math=False)
        axes.set_yticks(range(classes), names, parse_math=False)
    if classes <= _MOST_NUMBERS:
        for row, column in zip(*np.nonzero(counts), strict=True):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3].copy()
