"""The mean over a set of one value per sample, as plain functions and losses give it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import paddle

from ppema.errors import ConfigError
from ppema.ir import Variable, dtype_name, is_variable
from ppema.losses import Weighted, fit, form, per_sample
from ppema.metrics.metric import BatchMean, Kept, Metric, Statistic, Weights


class MeanOf(Metric):
    """The mean over a set of a function of predictions and targets.

    The function returns a value per sample, [N] or [N, …], whose mean over all axes but the first counts; or `Weighted` values,
    whose mean is Σ values·weights / Σ weights over the set.
    """

    def __init__(self, name: str, function: Callable[[Any, Any], Any]):
        """name: of the function, for messages."""
        self._name = name
        self._function = function

    def statistics(self, predictions: Any, targets: Any) -> dict[str, Statistic]:
        """Raises ConfigError for anything but one value per sample.

        The mean over batches of one number per batch, such as an F1 score, depends on the batch size.
        """
        value = measured(self._name, self._function(predictions, targets))
        if not isinstance(value, Weighted) and list(value.shape) != [-1]:
            raise ConfigError.of(
                f"{self._name} returns one number for the batch, {form(value)}, and the mean of such numbers depends on "
                "data.eval.batch_size: return one value per sample, of shape [N]"
            )
        return mean_statistics(value)

    def result(self, found: Mapping[str, np.ndarray]) -> float:
        return mean_result(found)


def measured(what: str, value: Any) -> Variable | Weighted:
    """Cast `value`, the result of the loss or metric `what`, to float32: [N], or a scalar that is the mean over the batch.

    Of `Weighted` values and weights, both are [N]. Raises ConfigError for a result that is no variable, and for any other
    shape.
    """
    if isinstance(value, Weighted):
        if not fit(value.values.shape, value.weights.shape) or not value.values.shape:
            raise ConfigError.of(
                f"{what} must return values and weights of one shape; it returns {' and '.join(map(form, value))}"
            )
        return per_sample(Weighted(*map(_float32, value)))
    if not is_variable(value):
        raise ConfigError.of(f"{what} must return a variable, it returns a {type(value).__name__}")
    value = per_sample(_float32(value))
    if list(value.shape) not in ([], [1], [-1]):
        raise ConfigError.of(f"{what} must return a value per sample, or one for the batch; it returns {form(value)}")
    return value


def _float32(value: Variable) -> Variable:
    return value if dtype_name(value) == "float32" else paddle.cast(value, "float32")


def mean_statistics(value: Variable | Weighted) -> dict[str, Statistic]:
    """The statistics of the mean over a set of a `measured` value, for `mean_result`."""
    if isinstance(value, Weighted):
        return {"values": Kept(value.values), "weights": Weights(value.weights)}
    return {"values": Kept(value) if list(value.shape) == [-1] else BatchMean(value)}


def mean_result(found: Mapping[str, np.ndarray]) -> float:
    """Σ values·weights / Σ weights in float64, with weights of 1 if there are none.

    NaN if all weights are 0, or if one is negative or not finite.
    """
    values = found["values"].astype(np.float64)
    if "weights" not in found:
        return float(values.mean())
    weights = found["weights"].astype(np.float64)
    total = weights.sum()
    if not ((weights >= 0).all() and 0 < total < np.inf):
        return float("nan")
    return float((np.where(weights > 0, values, 0.0) * weights).sum() / total)
