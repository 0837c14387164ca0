"""Metrics from counts of predicted and true classes: precision, recall, F1, IoU, dice, and the confusion matrix."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import paddle

from ppema.errors import ConfigError
from ppema.ir import Variable
from ppema.metrics.class_average import ClassAverage
from ppema.metrics.labels import Labels, check_classes_found, counts, labels, ratio
from ppema.metrics.metric import Counts, Metric, Statistic
from ppema.metrics.multilabel import LabelAnswers, answers_of_labels, check_multilabel
from ppema.values import shown

AVERAGES = ("macro", "micro", "weighted", "binary", "none")


class _Counted(Metric):
    """A metric of class labels, counted over samples and positions. name: in messages."""

    name: ClassVar[str]

    def __init__(self, axis: int, threshold: float | None, ignore_index: int | None, multilabel: bool | None):
        check_multilabel(multilabel)
        self._read: dict[str, Any] = {"axis": axis, "threshold": threshold, "ignore_index": ignore_index}
        self._ignored = ignore_index
        self._multilabel = multilabel

    def _labels(self, predictions: Variable, targets: Variable) -> Labels:
        return labels(self.name, predictions, targets, **self._read, multilabel=self._multilabel)

    def _of_each_label(self, predictions: Variable, targets: Variable) -> tuple[LabelAnswers, dict[str, Statistic]]:
        """The answers to each of K labels, and their statistics. [K]: yes in both, predicted yes, true yes. 0-D: no answer."""
        found = answers_of_labels(self.name, predictions, targets, **self._read)
        return found, {
            "hits": found.of_each(found.counted & found.guessed & found.true),
            "guessed": found.of_each(found.counted & found.guessed),
            "true": found.of_each(found.counted & found.true),
            "strays": Counts(paddle.cast(found.strays, "int64").sum()),
        }


class ClassScore(_Counted):
    """A ratio of counts for each class c, and its average over the classes.

    hits_c: the positions with c predicted and true; guessed_c, true_c: those with c predicted, and with c true. Positions whose
    target is `ignore_index` count nowhere. A class that is neither predicted nor true is left out of averages, as in
    scikit-learn. With `multilabel`, c is a label, to which each position answers yes or no; averages are over all labels with a
    figure. All are exact.
    """

    by_default: ClassVar[str | None] = None

    def __init__(
        self,
        average: str | None = None,
        classes: Sequence[str] = (),
        axis: int = -1,
        threshold: float | None = None,
        ignore_index: int | None = None,
        multilabel: bool | None = None,
    ):
        """average: "macro", the mean over classes; "micro", the ratio of sums over classes; "weighted", the mean by true_c;
        "binary", that of class 1 of two; "none", one figure for each class. classes: their names, for "none"; axis: of the
        classes in the predictions; threshold: for one output instead of one for each class; ignore_index: targets that do not
        count; multilabel: whether predictions of the targets' shape, [N, K], have yes or no for each of K labels (True), or for
        K positions (False). None: only another shape, which is no labels. Raises ConfigError.
        """
        super().__init__(axis, threshold, ignore_index, multilabel)
        self._average = ClassAverage.of(average or self.by_default, classes, AVERAGES)
        if multilabel and average == "binary":
            raise ConfigError.of("binary is the score of class 1 of two, and not of several labels", "args", "average")

    def statistics(self, predictions: Variable, targets: Variable) -> dict[str, Statistic]:
        if self._multilabel:
            answers, made = self._of_each_label(predictions, targets)
            self._average.check(answers.labels, "labels")
            return made
        found = self._labels(predictions, targets)
        size = found.classes
        self._average.check(size, "classes")
        if self._average.kind == "binary" and size != 2:
            raise ConfigError.of(f"binary is the score of class 1 of two, and there are {size} classes", "args", "average")
        beyond = paddle.full_like(found.true, size)
        counted = found.true < size
        return {
            "hits": counts(paddle.where(counted & (found.guessed == found.true), found.true, beyond), size + 1),
            "guessed": counts(paddle.where(counted, found.guessed, beyond), size + 1),
            "true": counts(found.true, size + 2),
        }

    def result(self, found: Mapping[str, np.ndarray]) -> float | dict[str, float]:
        if self._multilabel:
            check_classes_found(int(found["strays"]), 2, self._ignored)
            hits, guessed, true = found["hits"], found["guessed"], found["true"]
            counting = np.full(len(true), True)
        else:
            check_classes_found(int(found["true"][-1]), len(found["true"]) - 2, self._ignored)
            hits, guessed, true = found["hits"][:-1], found["guessed"][:-1], found["true"][:-2]
            counting = np.arange(len(true)) != self._ignored
        above, below = self.ratio(hits, guessed, true)
        each = ratio(above, below, self.undefined)
        average = self._average.kind or ("binary" if len(true) == 2 and not self._multilabel else "macro")
        if average == "none":
            return {
                name: value
                for (name, value), here in zip(self._average.named(each.tolist()).items(), counting, strict=True)
                if here
            }
        if average == "binary":
            return float(each[1])
        if average == "micro":
            return float(ratio(above[counting].sum(), below[counting].sum(), self.undefined))
        present = counting & (~np.isnan(each) if self._multilabel else guessed + true > 0)
        if not present.any():
            return float("nan")
        if average == "macro":
            return float(each[present].mean())
        return float(ratio((each * true)[present].sum(), true[present].sum(), self.undefined))

    @property
    def undefined(self) -> float:
        """The value of 0 / 0."""
        return float("nan")

    @abstractmethod
    def ratio(self, hits: np.ndarray, guessed: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What is above and below the line, for each class: integers [C]."""


class _ZeroDivision(ClassScore):
    """A score whose 0 / 0 is a number that the config gives, as in scikit-learn."""

    def __init__(
        self,
        average: str | None = None,
        classes: Sequence[str] = (),
        axis: int = -1,
        threshold: float | None = None,
        ignore_index: int | None = None,
        zero_division: float = 0.0,
        multilabel: bool | None = None,
    ):
        """zero_division: the value of 0 / 0. Other arguments are those of `ClassScore`."""
        super().__init__(average, classes, axis, threshold, ignore_index, multilabel)
        if zero_division not in (0, 1):
            raise ConfigError.of(f"expected 0 or 1, got {shown(zero_division)}", "args", "zero_division")
        self._zero_division = float(zero_division)

    @property
    def undefined(self) -> float:
        return self._zero_division


class PrecisionScore(_ZeroDivision):
    """hits_c / guessed_c: the share of the predictions of c that are right."""

    name = "precision"

    def ratio(self, hits: np.ndarray, guessed: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return hits, guessed


class RecallScore(_ZeroDivision):
    """hits_c / true_c: the share of c that is found."""

    name = "recall"

    def ratio(self, hits: np.ndarray, guessed: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return hits, true


class F1Score(_ZeroDivision):
    """2·hits_c / (guessed_c + true_c): the harmonic mean of precision and recall."""

    name = "f1"

    def ratio(self, hits: np.ndarray, guessed: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return 2 * hits, guessed + true


class IoU(ClassScore):
    """hits_c / (guessed_c + true_c - hits_c): the intersection over the union of the predicted and the true region of c.

    Over the whole set; the mean over the classes by default (mIoU).
    """

    name = "iou"
    by_default = "macro"

    def ratio(self, hits: np.ndarray, guessed: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return hits, guessed + true - hits


class DiceScore(ClassScore):
    """2·hits_c / (guessed_c + true_c) over the whole set; the mean over the classes by default."""

    name = "dice"
    by_default = "macro"

    def ratio(self, hits: np.ndarray, guessed: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return 2 * hits, guessed + true


class ConfusionMatrix(_Counted):
    """How often class i is true and class j is predicted: an integer array [C, C], row i, column j; of labels [K, 2, 2]."""

    name = "confusion_matrix"

    def __init__(
        self,
        axis: int = -1,
        threshold: float | None = None,
        ignore_index: int | None = None,
        multilabel: bool | None = None,
    ):
        """Arguments are those of `ClassScore`."""
        super().__init__(axis, threshold, ignore_index, multilabel)

    def statistics(self, predictions: Variable, targets: Variable) -> dict[str, Statistic]:
        if self._multilabel:
            answers, made = self._of_each_label(predictions, targets)
            return {**made, "counted": answers.of_each(answers.counted)}
        found = self._labels(predictions, targets)
        size = found.classes
        # After the pairs of classes: one bin for ignored targets, one for those that are no class.
        beyond = found.true + (size * size - size)
        pairs = paddle.where(found.true < size, found.true * size + found.guessed, beyond)
        return {"pairs": counts(pairs, size * size + 2)}

    def result(self, found: Mapping[str, np.ndarray]) -> np.ndarray:
        if self._multilabel:
            check_classes_found(int(found["strays"]), 2, self._ignored)
            hits, guessed, true, counted = (found[name] for name in ("hits", "guessed", "true", "counted"))
            cells = [counted - guessed - true + hits, guessed - hits, true - hits, hits]
            return np.stack(cells, axis=-1).reshape(-1, 2, 2)
        pairs = found["pairs"]
        size = round((len(pairs) - 2) ** 0.5)
        check_classes_found(int(pairs[-1]), size, self._ignored)
        return pairs[:-2].reshape(size, size)
