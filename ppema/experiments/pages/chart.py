"""The geometry of charts: curves and points in data units become paths, ticks and labels of an SVG, which a template draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

WIDTH, HEIGHT = 520, 270
_LEFT, _TOP, _BOTTOM = 54, 12, 40
_LABEL = 15  # between the lines of two labels
_CHARACTER = 7.2  # the mean width of one in a label
_LONGEST = 22  # characters of a label
_BELOW = 70  # characters in the line of the categories
_MOST_POINTS = 300
# An axis is cut if values lie more than _EXTREME times the range between these quantiles outside of it: shown whole, that range
# would be less than a fifth of the axis.
_QUANTILES, _EXTREME = (0.08, 0.92), 4.0
# Differences of values by less than these shares of them: no axis is cut down to the first, and the second are of rounding.
_NARROW, _ROUNDING = 1e-6, 1e-12


@dataclass(frozen=True)
class Curve:
    """A line through `xs`, `ys`. None, or a number that is not finite, is a gap.

    style: a class of the style sheet: raw, train, other, best, or c1 to c6; label: beside its end, "" for none; key: its text
    in a list below the chart, "" for none; steps: each value holds until the next one.
    """

    name: str
    xs: Sequence[float]
    ys: Sequence[float | None]
    style: str
    label: str = ""
    key: str = ""
    steps: bool = False


@dataclass(frozen=True)
class Points:
    """Separate points. style: as that of a curve; label: above the last point."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float | None]
    style: str
    label: str = ""


@dataclass(frozen=True)
class Tick:
    """A mark of an axis. at: in the SVG's units."""

    at: float
    text: str


@dataclass(frozen=True)
class Mark:
    """A drawn curve, or the drawn points of one kind. path: of an SVG; dots: whether it is of points."""

    id: str
    name: str
    style: str
    path: str
    dots: bool


@dataclass(frozen=True)
class Label:
    """A text at the end of a mark. x, y: in the SVG's units; above: centered above (x, y), else right of it."""

    text: str
    whole: str
    style: str
    x: float
    y: float
    above: bool = False


@dataclass(frozen=True)
class Chart:
    """All that a template draws. left, right, top, bottom: the frame of the data; scale: the data's x and y at its corners.

    about: the chart in words; keys: style and text of the list below it; cut: the number of values outside of the frame;
    readable: whether `scale` is linear.
    """

    id: str
    title: str
    about: str
    x_label: str
    left: float
    right: float
    top: float
    bottom: float
    scale: tuple[float, float, float, float]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    marks: list[Mark]
    labels: list[Label]
    keys: list[tuple[str, str]]
    cut: int
    readable: bool


def draw(
    key: str,
    title: str,
    x_label: str,
    marks: Sequence[Curve | Points],
    *,
    log_x: bool = False,
    whole_x: bool = False,
    categories: Sequence[str] = (),
) -> Chart | None:
    """The chart of `marks`, later ones above earlier ones; None if nothing in them is finite.

    key: of the ids in the page, unique; log_x: the x axis is logarithmic, all xs are > 0; whole_x: its ticks are integers;
    categories: the names of x = 0, 1, …
    """
    found = [(mark, _finite(mark, log_x)) for mark in marks]
    shown = [(mark, points) for mark, points in found if np.isfinite(points[:, 1]).any()]
    if not shown:
        return None
    every = np.concatenate([points for _, points in shown])
    every = every[np.isfinite(every[:, 1])]
    x0, x1 = _x_range(every[:, 0], categories, padded=any(isinstance(mark, Points) for mark, _ in shown))
    y0, y1 = _y_range(every[:, 1])
    widest = max((min(len(mark.label), _LONGEST) for mark, _ in shown if isinstance(mark, Curve)), default=0)
    y_ticks = _ticks(y0, y1)
    left = max(_LEFT, 14 + round(max((len(text) for _, text in y_ticks), default=0) * _CHARACTER))
    right = WIDTH - 14 - round(widest * _CHARACTER)
    top, bottom = _TOP, HEIGHT - _BOTTOM
    to_x = lambda x: left + (x - x0) / (x1 - x0) * (right - left)  # noqa: E731
    to_y = lambda y: bottom - (y - y0) / (y1 - y0) * (bottom - top)  # noqa: E731
    drawn, labels = [], []
    for index, (mark, points) in enumerate(shown):
        places = [(to_x(x), to_y(y) if math.isfinite(y) else math.nan) for x, y in points]
        if isinstance(mark, Points):
            path = _dots(places, top, bottom)
        else:
            path = _line(_steps(_thinned(places)) if mark.steps else _thinned(places))
        drawn.append(Mark(f"{key}-{index}", mark.name, mark.style, path, isinstance(mark, Points)))
        if mark.label:
            x, y = next(place for place in reversed(places) if math.isfinite(place[1]))
            text = mark.label if len(mark.label) <= _LONGEST else f"{mark.label[: _LONGEST - 1]}…"
            dots = isinstance(mark, Points)
            labels.append(Label(text, mark.label, mark.style, x if dots else right, y, above=dots))
    if categories:
        x_ticks = [Tick(to_x(index), _cut(name, _BELOW / len(categories))) for index, name in enumerate(categories)]
    else:
        x_ticks = [Tick(to_x(at), text) for at, text in (_log_ticks(x0, x1) if log_x else _ticks(x0, x1, whole=whole_x))]
    return Chart(
        id=key,
        title=title,
        about=f"{title} against {x_label}: {', '.join(mark.name for mark, _ in shown[-8:])}",
        x_label=x_label,
        left=left,
        right=right,
        top=top,
        bottom=bottom,
        scale=(x0, x1, y0, y1),
        x_ticks=x_ticks,
        y_ticks=[Tick(to_y(at), text) for at, text in y_ticks],
        marks=drawn,
        labels=[*_apart([each for each in labels if not each.above], top, bottom), *(each for each in labels if each.above)],
        keys=[(mark.style, mark.key) for mark, _ in reversed(shown) if isinstance(mark, Curve) and mark.key],
        cut=int(np.sum((every[:, 1] < y0) | (every[:, 1] > y1))),
        readable=not (log_x or categories),
    )


def fit(categories: Sequence[str]) -> bool:
    """Whether these names can be read below an axis, none of them cut."""
    return all(len(each) <= _BELOW / len(categories) for each in categories)


def _finite(mark: Curve | Points, log_x: bool) -> np.ndarray:
    """[N, 2] float64: x, or its logarithm to base 10, and y, NaN where it is missing or infinite."""
    points = np.array([(x, math.nan if y is None else y) for x, y in zip(mark.xs, mark.ys, strict=True)], np.float64)
    points = points.reshape(-1, 2)
    points[~np.isfinite(points[:, 1]), 1] = math.nan
    if log_x:
        points[:, 0] = np.log10(points[:, 0])
    return points


def _x_range(xs: np.ndarray, categories: Sequence[str], *, padded: bool) -> tuple[float, float]:
    if categories:
        return -0.5, len(categories) - 0.5
    low, high = float(xs.min()), float(xs.max())
    pad = (0.04 * (high - low) if padded else 0.0) or (0.5 if low == high else 0.0)
    return low - pad, high + pad


def _y_range(ys: np.ndarray) -> tuple[float, float]:
    """All values, except extreme ones, such as first evaluations, which would flatten the others."""
    low, high = (float(each) for each in np.quantile(ys, _QUANTILES))
    least, most = float(ys.min()), float(ys.max())
    size, extent = max(abs(low), abs(high)), high - low
    if extent > _NARROW * size:
        if most - high > _EXTREME * extent:
            most = float(ys[ys <= high + extent].max())
        if low - least > _EXTREME * extent:
            least = float(ys[ys >= low - extent].min())
    constant = most - least <= _ROUNDING * size
    pad = (0.05 * size or 0.5) if constant else 0.05 * (most - least)
    return least - pad, most + pad


def _ticks(low: float, high: float, *, whole: bool = False) -> list[tuple[float, str]]:
    """About five multiples of 1, 2 or 5 times a power of ten, in [low, high], with as many decimals as they need."""
    raw = max((high - low) / 5, 1.0) if whole else (high - low) / 5
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= raw)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    found = [index * step for index in range(math.ceil(low / step), math.floor(high / step) + 1)]
    largest = max(map(abs, found), default=0)
    far = largest >= 1e6 or decimals > 5
    # As many digits as tell two ticks apart: those of 0.9999999 and 1 as well.
    digits = max(3, math.floor(math.log10(largest) + 1e-9) - math.floor(math.log10(step) + 1e-9) + 1) if largest else 3
    return [(at, f"{at:.{digits}g}" if far else f"{at:.{decimals}f}") for at in found]


def _log_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Powers of ten between 10^low and 10^high, and their multiples by 2 and 5 in less than three decades."""
    factors = (1, 2, 5) if high - low < 3 else (1,)
    values = [factor * 10.0**power for power in range(math.floor(low), math.ceil(high) + 1) for factor in factors]
    found = [(math.log10(value), f"{value:g}") for value in values if low <= math.log10(value) <= high]
    return found if len(found) > 1 else [(at, f"{10**at:.3g}") for at in np.linspace(low, high, 4)]


def _thinned(places: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most _MOST_POINTS of the points, evenly, with the last."""
    every = -(-len(places) // _MOST_POINTS) if places else 1
    kept = places[::every]
    return kept if (len(places) - 1) % every == 0 else [*kept, places[-1]]


def _steps(places: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The corners of a line through the points that changes at each of them at once."""
    corners = [((after[0], before[1]), after) for before, after in pairwise(places)]
    return [*places[:1], *(corner for pair in corners for corner in pair)]


def _line(places: list[tuple[float, float]]) -> str:
    words, move = [], True
    for x, y in places:
        if math.isfinite(y):
            # Far outside of the frame, numbers of any length would only be cut off.
            words.append(f"{'M' if move else 'L'}{x:.1f} {min(max(y, -9999), 9999):.1f}")
        move = not math.isfinite(y)
    return "".join(words)


def _dots(places: list[tuple[float, float]], top: float, bottom: float) -> str:
    """Lines of no length, which round caps make dots. Those outside of the frame lie on its edge."""
    return "".join(f"M{x:.1f} {min(max(y, top), bottom):.1f}h0" for x, y in places if math.isfinite(y))


def _apart(labels: list[Label], top: float, bottom: float) -> list[Label]:
    """The labels, moved so that none covers another."""
    ordered = sorted(labels, key=lambda label: label.y)
    ys = [min(max(label.y, top), bottom) for label in ordered]
    for index in range(1, len(ys)):
        ys[index] = max(ys[index], ys[index - 1] + _LABEL)
    limit = bottom + _LABEL / 3
    for index in reversed(range(len(ys))):
        ys[index] = min(ys[index], limit)
        limit = ys[index] - _LABEL
    return [Label(each.text, each.whole, each.style, each.x, y) for each, y in zip(ordered, ys, strict=True)]


def _cut(text: str, most: float) -> str:
    return text if len(text) <= most else f"{text[: max(1, int(most) - 1)]}…"
