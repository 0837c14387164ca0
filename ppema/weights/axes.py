"""The order of the axes of a source's arrays: other frameworks store the weights of a layer with other axes first.

| layer | paddle | PyTorch | TensorFlow, Keras, Flax |
|---|---|---|---|
| Linear, Dense | [in, out] | [out, in] | [in, out] |
| Conv2D | [out, in, H, W] | [out, in, H, W] | [H, W, in, out] |
| depthwise Conv2D | [channels, 1, H, W] | [channels, 1, H, W] | [H, W, channels, 1] |
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from ppema.errors import ConfigError

Axes = tuple[int, ...]

_TRANSPOSED: Axes = (1, 0)
# By number of dimensions, the orders of known layers: what a misfit may need.
_KNOWN: dict[int, tuple[Axes, ...]] = {
    2: (_TRANSPOSED,),
    3: ((2, 1, 0),),
    4: ((3, 2, 0, 1), (2, 3, 0, 1)),
    5: ((4, 3, 0, 1, 2),),
}


def axes_of(transpose: Mapping[str, Axes], arrays: Mapping[str, np.ndarray]) -> dict[str, Axes]:
    """The axes, by name, of the arrays that `transpose` names: the first pattern that matches with as many dimensions counts.

    transpose: the source's axes in the model's order, by regular expression. Raises ConfigError for a pattern that matches no
    array of as many dimensions.
    """
    found: dict[str, Axes] = {}
    for pattern, axes in transpose.items():
        matching = [name for name, array in arrays.items() if array.ndim == len(axes) and re.search(pattern, name)]
        if not matching:
            text = f"{pattern!r} matches no array of {len(axes)} dimensions among the source's {len(arrays)} arrays"
            raise ConfigError.of(text, "transpose")
        for name in matching:
            found.setdefault(name, axes)
    return found


def misfit(shape: Sequence[int], wanted: Sequence[int], axes: Axes | None) -> str:
    """The reason why an array does not fit. With a remedy, if the axes are not given and an order of a known layer fits.

    shape: of the array, with its axes in the order of `axes`; wanted: of the variable.
    """
    if axes is not None:
        source = [0] * len(axes)
        for axis, size in zip(axes, shape, strict=True):
            source[axis] = size
        return f"{source} in the source, {list(shape)} transposed, {list(wanted)} in the model"
    text = f"{list(shape)} in the source, {list(wanted)} in the model"
    for order in _KNOWN.get(len(shape), ()):
        if [shape[axis] for axis in order] == list(wanted):
            return f"{text}: it fits transposed {list(order)}"
    return text


def doubtful(shape: Sequence[int], format: str) -> bool:
    """Whether an array whose axes are not given could fit in another order, unseen: that of a known layer keeps its shape.

    format: of the source, as in the metadata of a safetensors file. "pt" is PyTorch, whose convolutions have Paddle's order;
    "tf" and "flax" have Paddle's order of matrices; ppema and Paddle have all of Paddle's.
    """
    if not any(_fits_too(shape, order) for order in _orders(len(shape))):
        return False
    if format in ("pd", "paddle") or format.startswith("ppema"):
        return False
    return format not in ("tf", "flax") if len(shape) == 2 else format != "pt"


def _orders(dimensions: int) -> tuple[Axes, ...]:
    """The orders that arrays of so many dimensions may need."""
    return _KNOWN.get(dimensions, (tuple(reversed(range(dimensions))),))


def _fits_too(shape: Sequence[int], order: Axes) -> bool:
    """Whether transposing to `order` keeps the shape, but not the order of the numbers. Axes of size 1 may move freely."""
    moved = [axis for axis in order if shape[axis] > 1]
    return [shape[axis] for axis in order] == list(shape) and moved != sorted(moved)


def remedy(shape: Sequence[int]) -> str:
    """What to write for an array of a `doubtful` shape."""
    kept = list(range(len(shape)))
    order = list(next(order for order in _orders(len(shape)) if _fits_too(shape, order)))
    text = f"give its axes, {{pattern: {order}}} to transpose it or {{pattern: {kept}}} to keep it"
    return f"{text}; PyTorch's Linear is transposed, an embedding is kept" if len(shape) == 2 else text
