"""Metrics from the order of scores: the area under the ROC curve, and the average precision. Exact, from the scores of all
samples; ties are one threshold."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from ppema.ir import Variable
from ppema.losses import has_classes, mismatch, one_output
from ppema.metrics.labels import check_classes_found
from ppema.metrics.metric import Kept, Metric, Statistic


class _Ranking(Metric):
    """A figure of scores and labels 0 or 1; of several classes the mean over each class against the rest."""

    name: ClassVar[str]

    def __init__(self, logits: bool = True):
        """logits: whether the predictions are logits. False: they are probabilities. Only for three classes or more does it
        matter: there each score is the probability of the class."""
        self._logits = logits

    def statistics(self, predictions: Variable, targets: Variable) -> dict[str, Statistic]:
        """predictions: [N] or [N, 1] scores of class 1, or [N, C] scores of C classes, float32. targets: [N] int64 classes; for
        scores of class 1 also float32, 0 or 1. Raises ConfigError for other shapes.
        """
        output = one_output(predictions, targets) if list(targets.shape)[1:] in ([], [1]) else None
        if output is None and not (len(predictions.shape) == 2 and len(targets.shape) == 1 and has_classes(targets)):
            said = "[N] or [N, 1] scores with [N] targets of 0 and 1, or [N, C] scores with [N] int64 class labels"
            raise mismatch(self.name, predictions, targets, said)
        return {"scores": Kept(predictions if output is None else output.flatten()), "targets": Kept(targets.flatten())}

    def result(self, found: Mapping[str, np.ndarray]) -> float:
        """NaN if there is only one class, or a NaN among the scores. Classes that are absent are left out of the mean."""
        scores, targets = found["scores"].astype(np.float64), found["targets"]
        classes = 2 if scores.ndim == 1 else scores.shape[1]
        check_classes_found(int((~np.isin(targets, np.arange(classes))).sum()), classes, None)
        if np.isnan(scores).any():
            return float("nan")
        if scores.ndim == 1:
            return self.of(scores, targets == 1)
        if classes == 2:
            return self.of(scores[:, 1] - scores[:, 0], targets == 1)
        if self._logits:
            scores = scores - scores.max(axis=1, keepdims=True)
            # Sorted: the order of the classes must not break a tie between samples.
            scores = scores - np.log(np.exp(np.sort(scores, axis=1)).sum(axis=1, keepdims=True))
        each = np.array([self.of(scores[:, index], targets == index) for index in range(classes)])
        defined = ~np.isnan(each)
        return float(each[defined].mean()) if defined.any() else float("nan")

    @abstractmethod
    def of(self, scores: np.ndarray, positive: np.ndarray) -> float:
        """The figure of scores, [n] float64, and labels, [n] bool; NaN if it is undefined."""


class AreaUnderRoc(_Ranking):
    """The probability that a sample of class 1 has a greater score than one of class 0; a tie counts 1/2.

    It equals the area under the ROC curve (Hanley & McNeil 1982): (Σ ranks of positives - P(P + 1)/2) / (P·N).
    """

    name = "auc"

    def of(self, scores: np.ndarray, positive: np.ndarray) -> float:
        positives = int(positive.sum())
        pairs = positives * (len(scores) - positives)
        if not pairs:
            return float("nan")
        _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
        # Twice the mean rank of each distinct score: an integer.
        ranks = 2 * np.cumsum(count) - count + 1
        return (int(ranks[place[positive]].sum()) - positives * (positives + 1)) / (2 * pairs)


class AveragePrecision(_Ranking):
    """Σ_n (R_n - R_{n-1})·P_n over the distinct scores as thresholds, from the greatest: R recall, P precision."""

    name = "average_precision"

    def of(self, scores: np.ndarray, positive: np.ndarray) -> float:
        positives = int(positive.sum())
        if not positives:
            return float("nan")
        distinct, place = np.unique(-scores, return_inverse=True)
        hits = np.bincount(place, weights=positive, minlength=len(distinct))
        guessed = np.bincount(place, minlength=len(distinct))
        return float((hits * (np.cumsum(hits) / np.cumsum(guessed))).sum() / positives)
