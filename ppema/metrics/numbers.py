"""Metrics of predicted numbers: the root of the mean squared error, R²; and the perplexity of predicted tokens."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import paddle
from paddle.nn import functional

from ppema.errors import ConfigError
from ppema.ir import Variable
from ppema.losses import classes_last, difference, fit, has_classes, mismatch, mse, per_sample
from ppema.metrics.mean import mean_of_resamples, mean_result
from ppema.metrics.metric import Counts, Kept, Metric, Statistic


class RootMeanSquare(Metric):
    """√(mean of (predictions - targets)²) over the set. Predictions and targets: [N, …] float32; predictions [N, 1] fit [N]."""

    def statistics(self, predictions: Variable, targets: Variable) -> dict[str, Statistic]:
        return {"values": Kept(per_sample(mse(predictions, targets)))}

    def result(self, found: Mapping[str, np.ndarray]) -> float:
        return float(np.sqrt(mean_result(found)))

    def of_resamples(self, kept: Mapping[str, np.ndarray], times: np.ndarray) -> np.ndarray:
        return np.sqrt(mean_of_resamples(kept, times))


class R2(Metric):
    """1 - Σ(y - ŷ)² / Σ(y - ȳ)², with the mean ȳ over the set; of several outputs the mean over outputs.

    An output whose targets are all equal has 1 if it is predicted exactly, else 0, as in scikit-learn. NaN for fewer than two
    samples. Predictions ŷ and targets y are kept, in float32: [N] or [N, …]; predictions [N, 1] fit targets [N].
    """

    def statistics(self, predictions: Variable, targets: Variable) -> dict[str, Statistic]:
        difference("r2", predictions, targets)
        return {"predictions": Kept(predictions), "targets": Kept(targets)}

    def result(self, found: Mapping[str, np.ndarray]) -> float:
        targets = found["targets"].astype(np.float64)
        if len(targets) < 2:
            return float("nan")
        targets = targets.reshape(len(targets), -1)
        left = ((targets - found["predictions"].astype(np.float64).reshape(targets.shape)) ** 2).sum(axis=0)
        total = ((targets - targets.mean(axis=0)) ** 2).sum(axis=0)
        each = np.where(total > 0, 1 - left / np.where(total > 0, total, 1), np.where(left > 0, 0.0, 1.0))
        return float(np.where(np.isnan(left), np.nan, each).mean())


class Perplexity(Metric):
    """exp(mean of -log softmax(predictions)_target) over all tokens of the set that count.

    A token's value is float32; their sum is float64.
    """

    def __init__(self, axis: int = -1, ignore_index: int | None = None):
        """axis: of the vocabulary; ignore_index: targets that do not count, such as padding. None: all count."""
        self._axis = axis
        self._ignored = ignore_index

    def statistics(self, predictions: Variable, targets: Variable) -> dict[str, Statistic]:
        """predictions: [N, …, V] float32 logits; targets: [N, …] int64. Raises ConfigError for other shapes."""
        predictions = classes_last(predictions, self._axis)
        if not has_classes(targets) or not fit(predictions.shape[:-1], targets.shape):
            raise mismatch("perplexity", predictions, targets, "int64 tokens of the predictions' shape without its vocabulary")
        tokens = (targets >= 0) & (targets < predictions.shape[-1])
        counted = paddle.full_like(tokens, True) if self._ignored is None else targets != self._ignored
        known = paddle.where(tokens, targets, paddle.zeros_like(targets))
        surprise = functional.cross_entropy(predictions, known, reduction="none")
        if len(surprise.shape) > len(targets.shape):
            surprise = surprise.squeeze(-1)
        surprise = paddle.cast(paddle.where(counted, surprise, paddle.zeros_like(surprise)), "float64")
        return {
            "surprise": Kept(surprise if len(surprise.shape) == 1 else surprise.flatten(1).sum(axis=1)),
            "tokens": Counts(paddle.cast(counted, "int64").sum()),
            "strays": Counts(paddle.cast(counted & ~tokens, "int64").sum()),
        }

    def result(self, found: Mapping[str, np.ndarray]) -> float:
        tokens = int(found["tokens"])
        if found["strays"]:
            other = "" if self._ignored is None else f" nor ignore_index, {self._ignored}"
            raise ConfigError.of(f"{found['strays']} targets are no tokens of the vocabulary{other}")
        return float(np.exp(found["surprise"].sum() / tokens)) if tokens else float("nan")
