"""The columns of predictions: what a table, a CSV file and a line of JSON say of a sample."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ppema.errors import Naming, PpemaError
from ppema.prediction.predicted import OutputForm, PredictedBatch

_MOST = 64  # numbers of an output that are columns of a table


@dataclass(frozen=True)
class TableColumn:
    """One column of a table. values: a text or number for each sample; longest: the longest text that is possible, if known."""

    title: str
    values: Sequence[str] | np.ndarray
    longest: int | None = None

    @property
    def is_text(self) -> bool:
        """Whether the values are texts."""
        return not isinstance(self.values, np.ndarray)


def columns(batch: PredictedBatch, top: int) -> list[TableColumn]:
    """The columns of a table of `batch`, whose first one is the samples' names.

    An output of classes has a class and its probability, `top` times; of yes or no, or of plain numbers, its numbers. With
    several outputs, each title begins with the name of its output. Raises PpemaError for an output that is no short vector.
    """
    made = [TableColumn("name", batch.names)]
    several = len(batch.forms) > 1
    for form in batch.forms:
        _check_short(form, batch.outputs[form.name])
        prefix = f"{form.name}." if several else ""
        if form.axis is not None:
            made += _of_classes(batch, form, prefix, top)
        else:
            made += _of_numbers(batch, form, prefix)
    return made


def has_columns(shape: Sequence[int]) -> bool:
    """Whether a sample's numbers of `shape` are columns of a table. -1: a dimension that differs from batch to batch."""
    return len(shape) < 2 and 0 < math.prod(shape) <= _MOST


def check_keys(keys: Iterable[str]) -> None:
    """Raise PpemaError if two of the keys of a file of predictions are equal: an output has the name of another column."""
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            raise PpemaError(
                f"the model has an output {key!r}, and predictions have {key!r} for another purpose: rename the output"
            )
        seen.add(key)


def _of_classes(batch: PredictedBatch, form: OutputForm, prefix: str, top: int) -> Iterator[TableColumn]:
    labels, values = ranked(batch, form, top)
    longest = max(map(len, form.classes)) if form.classes else None
    for place in range(labels.shape[1]):
        number = f"_{place + 1}" if place else ""
        named = [form.class_name(label) for label in labels[:, place].tolist()]
        yield TableColumn(f"{prefix}class{number}", named if form.classes else labels[:, place], longest)
        yield TableColumn(f"{prefix}probability{number}", values[:, place])


def ranked(batch: PredictedBatch, form: OutputForm, top: int) -> tuple[np.ndarray, np.ndarray]:
    """The `top` most probable classes of each sample, int64 [n, top], and their probabilities, float32 [n, top].

    Of equal ones, the first class comes first. Raises PpemaError for fewer classes than `top`.
    """
    values = batch.probabilities[form.name]
    if top > values.shape[1]:
        raise PpemaError(Naming("{top}: {} is more than the {} classes of {!r}", top, values.shape[1], form.name))
    every = batch.outputs[form.name]  # the order of the probabilities, without their rounding
    labels = batch.labels[form.name][:, None] if top == 1 else np.argsort(-every, axis=1, kind="stable")[:, :top]
    return labels, np.take_along_axis(values, labels, axis=1)


def _of_numbers(batch: PredictedBatch, form: OutputForm, prefix: str) -> Iterator[TableColumn]:
    known = form.scores is not None
    values = batch.probabilities[form.name] if known else batch.outputs[form.name]
    # The only output of a model has no name of its own.
    title = f"{prefix}probability" if known else form.name
    flat = values.reshape(len(values), -1)
    if flat.shape[1] == 1:
        yield TableColumn(title, flat[:, 0])
        return
    for place in range(flat.shape[1]):
        yield TableColumn(f"{title}[{place}]", flat[:, place])


def _check_short(form: OutputForm, values: np.ndarray) -> None:
    classes = form.axis is not None
    if values.ndim > 2 or (not classes and values[0].size > _MOST):
        raise PpemaError(
            Naming(
                "the output {!r} has {} numbers of shape {} for a sample, which are no columns: {format} jsonl, {to} FILE.npz, "
                "or ppema.predict",
                form.name,
                values[0].size,
                list(values.shape[1:]),
            )
        )
