"""The mean over a set of one value per sample, as plain functions and losses give it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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

    def of_resamples(self, kept: Mapping[str, np.ndarray], times: np.ndarray) -> np.ndarray:
        return mean_of_resamples(kept, times)


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


@dataclass(frozen=True)
class SumOfMeans:
    """The sum of the means of named values, each times its weight: a loss of several parts.

    weights: by name; the statistics of a part are named "<part>.values" and "<part>.weights". One part may be named "", and its
    statistics have no prefix.
    """

    weights: Mapping[str, float]

    def result(self, found: Mapping[str, np.ndarray]) -> float:
        return sum(self.weights[name] * mean_result(part) for name, part in self._parts(found))

    def of_resamples(self, kept: Mapping[str, np.ndarray], times: np.ndarray) -> np.ndarray:
        """As `Metric.of_resamples`."""
        return np.sum([self.weights[name] * mean_of_resamples(part, times) for name, part in self._parts(kept)], axis=0)

    def _parts(self, found: Mapping[str, np.ndarray]) -> list[tuple[str, dict[str, np.ndarray]]]:
        return [(name, _of_part(name, found)) for name in self.weights]


def _of_part(name: str, found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    prefix = f"{name}." if name else ""
    return {key: found[prefix + key] for key in ("values", "weights") if prefix + key in found}


def mean_of_resamples(kept: Mapping[str, np.ndarray], times: np.ndarray) -> np.ndarray:
    """`mean_result` of each of R resamples: [R] float64. Arguments are those of `Metric.of_resamples`.

    An undefined mean is NaN, as is any mean over values that are not finite.
    """
    values = kept["values"].astype(np.float64)
    weights = kept["weights"].astype(np.float64) if "weights" in kept else np.ones(len(values))
    values = np.where(weights > 0, values, 0.0) * weights
    if not (np.isfinite(values).all() and np.isfinite(weights).all() and (weights >= 0).all()):
        return np.full(len(times), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        return _sums(times, values) / _sums(times, weights)


def _sums(times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Σ times·values for each resample: [R].

    The values are rounded to a grid on which float64 has every partial sum exactly. So neither the order of the samples nor
    the number of threads changes a bit. The rounding is at most n·2^-53 of the largest value, for n samples in a resample.
    """
    largest = np.abs(values).max(initial=0.0) * times.sum(axis=1).max(initial=0.0)
    if not largest:
        return np.zeros(len(times))
    grid = 2.0 ** min(52 - math.ceil(math.log2(largest)), 1000)
    return times @ np.round(values * grid) / grid


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
