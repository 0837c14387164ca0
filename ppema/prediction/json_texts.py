"""The lines of JSON of predictions. Texts are made for a whole batch, which is faster than an object for each sample."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np

from ppema.log.records import to_json
from ppema.prediction.columns import check_keys, ranked
from ppema.prediction.predicted import OutputForm, PredictedBatch

_DIGITS = "%.9g"  # tells all float32 numbers apart


def lines(batch: PredictedBatch, top: int) -> list[str]:
    """One JSON object for each sample of `batch`: its name, and what is known of each output.

    An output of classes has class (if classes have names), label, probability, and all probabilities in the order of the
    classes; with `top` > 1, the most probable ones too. A map of classes has labels. Yes or no has a probability, or several;
    another output its numbers under its own name. With several outputs, each key begins with the name of its output. Numbers
    that are not finite are null. Raises PpemaError for fewer classes than `top`, and for two keys of one name.
    """
    columns = [("name", list(map(json.dumps, batch.names)))]
    for form in batch.forms:
        prefix = f"{form.name}." if len(batch.forms) > 1 else ""
        own = {form.name: form.name} if prefix else {}
        columns += [(own.get(key, prefix + key), texts) for key, texts in _of_output(batch, form, top)]
    check_keys(key for key, _ in columns)
    keys = [json.dumps(key) for key, _ in columns]
    rows = zip(*(texts for _, texts in columns), strict=True)
    return ["{" + ", ".join(map("%s: %s".__mod__, zip(keys, row, strict=True))) + "}" for row in rows]


def _of_output(batch: PredictedBatch, form: OutputForm, top: int) -> Iterator[tuple[str, list[str]]]:
    if form.axis is None:
        known = form.scores is not None
        values = (batch.probabilities if known else batch.outputs)[form.name]
        several = values[0].size > 1
        yield ("probabilities" if several else "probability") if known else form.name, _texts(values)
        return
    labels = batch.labels[form.name]
    if labels.ndim > 1:
        yield "labels", _texts(labels)
        return
    values = batch.probabilities[form.name]
    best = np.take_along_axis(values, labels[:, None], axis=1)
    if form.classes is not None:
        yield "class", _classes(form.classes, labels)
    yield "label", _texts(labels)
    yield "probability", _texts(best)
    yield "probabilities", _texts(values)
    if top > 1:
        yield "top", list(map(_listing, *_ranked(batch, form, top)))


def _ranked(batch: PredictedBatch, form: OutputForm, top: int) -> Iterator[list[list[str]]]:
    """For each sample, the texts of keys and values of its most probable classes."""
    labels, values = ranked(batch, form, top)
    parts = [("label", [_texts(column) for column in labels.T]), ("probability", [_texts(column) for column in values.T])]
    if form.classes is not None:
        parts.insert(0, ("class", [_classes(form.classes, column) for column in labels.T]))
    for key, columns in parts:
        yield [[f'"{key}": {text}' for text in row] for row in zip(*columns, strict=True)]


def _listing(*parts: Sequence[str]) -> str:
    return "[" + ", ".join("{" + ", ".join(each) + "}" for each in zip(*parts, strict=True)) + "]"


def _classes(classes: Sequence[str], labels: np.ndarray) -> list[str]:
    texts = list(map(json.dumps, classes))
    return [texts[label] for label in labels.tolist()]


def _texts(values: np.ndarray) -> list[str]:
    """The JSON of each row of `values`: nested lists as in the array, and a row of one number as that number."""
    if values[0].size == 1:
        values = values.reshape(len(values))
    if values.dtype.kind == "f" and values.ndim < 3 and np.isfinite(values).all():
        if values.ndim == 1:
            return [_DIGITS % value for value in values.tolist()]
        form = "[" + ", ".join([_DIGITS] * values.shape[1]) + "]"
        return [form % tuple(row) for row in values.tolist()]
    if values.dtype.kind == "f":
        # By way of decimals: float64 would show digits that the float32 number lacks.
        values = np.char.mod(_DIGITS, values).astype(np.float64)
    return [to_json(row) for row in values.tolist()]
