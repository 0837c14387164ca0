"""Functions for data.collate, at module level so that worker processes can import them."""

from __future__ import annotations

import functools

import numpy as np


def padded(samples):
    """Texts padded with -1 and a random column, which differs from batch to batch."""
    length = max(len(sample["tokens"]) for sample in samples) + 1
    tokens = np.full((len(samples), length), -1)
    for row, sample in zip(tokens, samples, strict=True):
        row[: len(sample["tokens"])] = sample["tokens"]
    tokens[:, -1] = np.random.randint(1000)
    return {"label": [sample["label"] for sample in samples], "tokens": tokens, "names": "unused"}


def texts(samples, how):
    """Texts padded with 0 to the longest of the batch, cut to the shortest, or all cut to one drawn length."""
    lengths = [len(sample["tokens"]) for sample in samples]
    length = {"padded": max(lengths), "cut": min(lengths), "drawn": np.random.randint(1, 12)}[how]
    tokens = np.zeros((len(samples), length), "int64")
    for row, sample in zip(tokens, samples, strict=True):
        row[: len(sample["tokens"])] = sample["tokens"][:length]
    return {"tokens": tokens, "label": [sample["label"] for sample in samples]}


def _wide(samples, *, columns):
    return np.broadcast_to(np.float32(0), (len(samples), columns if len(samples) > 1 else 1)), np.zeros(len(samples), "int64")


def grows_to(columns: int):
    """Inputs of zeros, with so many columns in every batch of several samples."""
    return functools.partial(_wide, columns=columns)


def shortened(samples, by=1):
    """A batch without its last `by` samples."""
    return [np.stack(column) for column in zip(*samples[: len(samples) - by], strict=True)]


def raising(samples):
    """Raises for every batch of several samples."""
    if len(samples) > 1:
        raise ValueError(f"{len(samples)} are\ntoo many")
    return [np.stack(column) for column in zip(*samples, strict=True)]


class Stack:
    """Stacks the fields of samples, `times` the first."""

    def __init__(self, times: float):
        if times == 0:
            raise ValueError("times is 0")
        self.times = times

    def __call__(self, samples):
        inputs, targets = zip(*samples, strict=True)
        return np.stack(inputs) * np.float32(self.times), np.array(targets)


class NoCall:
    """A class whose objects can not be called."""
