"""Splits the samples of a data set into two parts: one is kept for evaluation, the other is for training.

The split is a pure function of the number of samples, their classes, and the keys of `data.split`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppema.data.loader import Loader
from ppema.errors import ConfigError

_STREAM = 0x53504C49  # differs from the numbers of epochs, with which `ppema.data.order` draws


@dataclass(frozen=True)
class Parts:
    """The indices of the samples of both parts, int64, ascending. Together they are all samples."""

    train: np.ndarray
    kept: np.ndarray


def split_samples(samples: int, classes: np.ndarray | None, spec: Any) -> Parts:
    """Split `samples` samples by `spec`, a section `data.split`.

    classes: int64[samples], or None to draw without regard to classes. A fold has samples / of samples, and a share of each
    class of class size / of. A fraction f of the samples, m = round(f · samples), has a share of class size · m / samples.
    All of these are rounded up or down. The folds of one seed share no sample.

    Raises ConfigError, relative to the section, if a part is empty.
    """
    order = np.random.default_rng([spec.seed, _STREAM]).permutation(samples)
    if classes is not None:
        # Samples of one class become neighbours, in a random order. Every k-th position is then a stratified part.
        order = order[np.argsort(classes[order], kind="stable")]
    position = np.arange(samples, dtype=np.int64)
    if spec.fraction is None:
        if spec.of > samples:
            raise ConfigError.of(f"{spec.of} folds of {samples} samples: a fold would be empty", "of")
        chosen = position % spec.of == spec.fold
    else:
        size = round(spec.fraction * samples)
        if not 0 < size < samples:
            raise ConfigError.of(f"{spec.fraction:g} of {samples} samples are {size}: a part would be empty", "fraction")
        # size · position / samples, rounded, grows by one at `size` positions at equal distances.
        chosen = np.diff((np.arange(samples + 1, dtype=np.int64) * size + samples // 2) // samples) > 0
    return Parts(np.sort(order[~chosen]), np.sort(order[chosen]))


def classes_of(loader: Loader) -> np.ndarray | None:
    """int64[N]: the class of each sample, its first int64 target of shape []; None if it has no such target.

    An attribute `targets` or `labels` of the data set, N integers, saves reading its samples. Otherwise they are read once,
    with a warning. loader: of all samples, in order. Raises DataError for an unusable sample.
    """
    scalar = (
        index for index, field in enumerate(loader.fields) if field.is_target and (field.dtype, field.shape) == ("int64", ())
    )
    position = next(scalar, None)
    if position is None:
        return None
    if loader.known is not None:
        return loader.known[loader.fields[position].name]
    for name in ("targets", "labels"):  # those of torchvision's and Paddle's data sets
        found = _integers(getattr(loader.dataset, name, None))
        if found is not None and found.size == loader.samples:
            return found.reshape(-1)
    warnings.warn(
        f"{loader.label}: all {loader.samples} samples are read once for their classes; an attribute targets of the data set, "
        "or data.split.stratify: false, saves this",
        stacklevel=2,
    )
    return np.concatenate([batch.arrays[position] for batch in loader.epoch(0)])


def _integers(values: Any) -> np.ndarray | None:
    try:
        array = np.asarray(values)
    except ValueError:  # lists of several lengths
        return None
    return array.astype(np.int64) if array.dtype.kind in "iu" else None
