"""Metrics from the order of scores: the area under the ROC curve, and the average precision. Exact, from the scores of all
samples; ties are one threshold."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from ppema.errors import ConfigError
from ppema.ir import Variable
from ppema.losses import fit, has_classes, mismatch, one_output
from ppema.metrics.class_average import ClassAverage
from ppema.metrics.labels import check_classes_found
from ppema.metrics.metric import Kept, Metric, Resampled, Statistic
from ppema.metrics.multilabel import check_multilabel, refuse_unclear
from ppema.values import shown

AVERAGES = ("macro", "micro", "weighted", "none")


class _Ranking(Metric):
    """A figure of scores and labels 0 or 1; of several classes, or labels, an average over each against the rest."""

    name: ClassVar[str]

    def __init__(
        self,
        logits: bool = True,
        average: str | None = None,
        classes: Sequence[str] = (),
        multilabel: bool | None = None,
    ):
        """logits: whether the predictions are logits. False: they are probabilities. Only for three classes or more does it
        matter: there each score is the probability of the class. average: "macro", the mean over the classes or labels (the
        default); "micro", the figure of all their scores together; "weighted", the mean by their numbers of positives; "none",
        one figure for each. classes: their names, for "none"; multilabel: as for `ClassScore`. Raises ConfigError.
        """
        check_multilabel(multilabel)
        self._logits = logits
        self._average = ClassAverage.of(average, classes, AVERAGES)
        self._multilabel = multilabel

    def statistics(self, predictions: Variable, targets: Variable) -> dict[str, Statistic]:
        """predictions: [N] or [N, 1] scores of class 1, or [N, C] scores of C classes, float32. targets: [N] int64 classes; for
        scores of class 1 also float32, 0 or 1. With `multilabel` given, both are [N, K]. Raises ConfigError for other shapes.
        """
        refuse_unclear(self.name, predictions, targets, self._multilabel)
        shape = list(predictions.shape)
        if self._multilabel or (self._multilabel is False and len(targets.shape) > 1):
            if len(shape) != 2 or not fit(shape, targets.shape):
                wanted = "targets of the predictions' shape, [N, K]"
                raise mismatch(f"{self.name} with multilabel: {shown(self._multilabel)}", predictions, targets, wanted)
            self._check_average(shape[1] if self._multilabel else 1, "labels")
            return {"scores": Kept(predictions), "targets": Kept(targets)}
        output = one_output(predictions, targets) if list(targets.shape)[1:] in ([], [1]) else None
        if output is None and not (len(shape) == 2 and len(targets.shape) == 1 and has_classes(targets)):
            said = "[N] or [N, 1] scores with [N] targets of 0 and 1, or [N, C] scores with [N] int64 class labels"
            raise mismatch(self.name, predictions, targets, said)
        self._check_average(1 if output is not None or shape[1] == 2 else shape[1], "classes")
        return {"scores": Kept(predictions if output is None else output.flatten()), "targets": Kept(targets.flatten())}

    def _check_average(self, size: int, what: str) -> None:
        if self._average.kind is not None and size == 1 and not self._multilabel:
            raise ConfigError.of("there is one score to rank, and nothing to average: leave it out", "args", "average")
        self._average.check(size, what)

    def result(self, found: Mapping[str, np.ndarray]) -> float | dict[str, float]:
        """NaN if there is only one class, or a NaN among the scores. Means leave out classes and labels without a figure."""
        once = self.of_resamples(found, np.ones((1, len(found["targets"]))))
        return {name: float(each[0]) for name, each in once.items()} if isinstance(once, dict) else float(once[0])

    def of_resamples(self, kept: Mapping[str, np.ndarray], times: np.ndarray) -> Resampled:
        scores, targets = kept["scores"].astype(np.float64), kept["targets"]
        answers = scores.ndim == 1 or targets.ndim == 2
        classes = 2 if answers else scores.shape[1]
        check_classes_found(int((~np.isin(targets, np.arange(classes))).sum()), classes, None)
        if answers:
            return self._averaged(scores, targets == 1, times) if self._multilabel else self._all(scores, targets == 1, times)
        if classes == 2:
            return self._of(scores[:, 1] - scores[:, 0], targets == 1, times)
        if self._logits:
            scores = scores - scores.max(axis=1, keepdims=True)
            # Sorted: the order of the classes must not break a tie between samples.
            scores = scores - np.log(np.exp(np.sort(scores, axis=1)).sum(axis=1, keepdims=True))
        return self._averaged(scores, targets[:, None] == np.arange(classes), times)

    def _averaged(self, scores: np.ndarray, positive: np.ndarray, times: np.ndarray) -> Resampled:
        """The figures of scores, [n, C] float64, and labels, [n, C] bool."""
        if self._average.kind == "micro":
            return self._all(scores, positive, times)
        broken = np.isnan(scores).any()
        each = [
            np.full(len(times), np.nan) if broken else self.of(*pair, times) for pair in zip(scores.T, positive.T, strict=True)
        ]
        if self._average.kind == "none":
            return self._average.named(each)
        figures = np.stack(each, axis=1)
        defined = ~np.isnan(figures)
        weights = np.where(defined, times @ positive if self._average.kind == "weighted" else 1.0, 0.0)
        with np.errstate(invalid="ignore"):
            return (np.where(defined, figures, 0.0) * weights).sum(axis=1) / weights.sum(axis=1)

    def _all(self, scores: np.ndarray, positive: np.ndarray, times: np.ndarray) -> np.ndarray:
        """The figure of all answers of the samples together. scores, positive: [n] or [n, K]."""
        return self._of(scores.ravel(), positive.ravel(), np.repeat(times, scores.size // max(len(scores), 1), axis=1))

    def _of(self, scores: np.ndarray, positive: np.ndarray, times: np.ndarray) -> np.ndarray:
        return np.full(len(times), np.nan) if np.isnan(scores).any() else self.of(scores, positive, times)

    @abstractmethod
    def of(self, scores: np.ndarray, positive: np.ndarray, times: np.ndarray) -> np.ndarray:
        """The figure of scores, [n] float64, and labels, [n] bool, in each resample, [R]; NaN where it is undefined.

        times: [R, n]: how often a resample has each score.
        """


def _at_each_score(scores: np.ndarray, positive: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of positives and of samples with each of the D distinct scores, ascending: [R, D] each, exact."""
    distinct, place = np.unique(scores, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(len(distinct)))
    rows = times[:, order]
    return np.add.reduceat(rows * positive[order], starts, axis=1), np.add.reduceat(rows, starts, axis=1)


class AreaUnderRoc(_Ranking):
    """The probability that a sample of class 1 has a greater score than one of class 0; a tie counts 1/2.

    It equals the area under the ROC curve (Hanley & McNeil 1982): (Σ ranks of positives - P(P + 1)/2) / (P·N).
    """

    name = "auc"

    def of(self, scores: np.ndarray, positive: np.ndarray, times: np.ndarray) -> np.ndarray:
        hits, count = _at_each_score(scores, positive, times)
        positives = hits.sum(axis=1)
        pairs = positives * (count.sum(axis=1) - positives)
        # Twice the mean rank of each distinct score: an integer.
        ranks = 2 * np.cumsum(count, axis=1) - count + 1
        with np.errstate(invalid="ignore"):
            return ((hits * ranks).sum(axis=1) - positives * (positives + 1)) / (2 * pairs)


class AveragePrecision(_Ranking):
    """Σ_n (R_n - R_{n-1})·P_n over the distinct scores as thresholds, from the greatest: R recall, P precision."""

    name = "average_precision"

    def of(self, scores: np.ndarray, positive: np.ndarray, times: np.ndarray) -> np.ndarray:
        hits, guessed = _at_each_score(-scores, positive, times)
        precision = np.cumsum(hits, axis=1) / np.maximum(np.cumsum(guessed, axis=1), 1)
        with np.errstate(invalid="ignore"):
            return (hits * precision).sum(axis=1) / hits.sum(axis=1)
