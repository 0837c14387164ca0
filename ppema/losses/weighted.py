"""`Weighted`, the values of a loss with weights; and the mean of a loss over a batch."""

from __future__ import annotations

from typing import NamedTuple

import paddle

from ppema.errors import ConfigError
from ppema.ir import Variable
from ppema.losses.checks import fit, form


class Weighted(NamedTuple):
    """Values of which some count more than others, or not at all. Their mean is Σ values·weights / Σ weights.

    Both sums run over the batch in training, and over the data set in evaluation. The mean over a set is thus exact for any
    batch size, and so is the gradient of micro-batches if each counts by its Σ weights.

    values, weights: [N, …] float32 of one shape; weights ≥ 0. A value of weight 0 does not count, even if it is not finite. A
    weight that is negative or NaN makes the mean NaN.
    """

    values: Variable
    weights: Variable

    @property
    def factors(self) -> Variable:
        """The weights, with NaN for a negative one: [N, …] float32."""
        return paddle.where(self.weights >= 0, self.weights, paddle.full_like(self.weights, float("nan")))

    @property
    def counted(self) -> Variable:
        """values·factors, and 0 where the weight is 0: [N, …] float32. Raises ConfigError if the two differ in shape."""
        if not fit(self.values.shape, self.weights.shape):
            both = f"the values are {form(self.values)} and the weights {form(self.weights)}"
            raise ConfigError.of(f"the values of a loss and their weights must have one shape; {both}")
        return paddle.where(self.weights > 0, self.values, paddle.zeros_like(self.values)) * self.factors


def mean(loss: Variable | Weighted) -> Variable:
    """The mean of a batch, 0-D float32: over all values, or Σ values·weights / Σ weights, which is 0 if all weights are 0."""
    if not isinstance(loss, Weighted):
        return paddle.mean(loss)
    return _ratio(loss.counted.sum(), loss.factors.sum())


def per_sample(loss: Variable | Weighted) -> Variable | Weighted:
    """[N, …] → [N], with the mean over all other axes. A scalar is returned unchanged.

    Of `Weighted` values, each sample's weight is the sum of its weights, so that the mean of the batch stays the same.
    """
    if not isinstance(loss, Weighted):
        return loss if len(loss.shape) < 2 else loss.flatten(1).mean(axis=1)
    if len(loss.values.shape) < 2:
        return loss
    weights = loss.factors.flatten(1).sum(axis=1)
    return of_totals(loss.counted.flatten(1).sum(axis=1), weights)


def of_totals(totals: Variable, weights: Variable) -> Weighted:
    """The weighted values whose products values·weights are `totals`. Values of weight 0 are set to 0."""
    return Weighted(_ratio(totals, weights), weights)


def _ratio(total: Variable, weights: Variable) -> Variable:
    """total / weights, and 0 where the weights are 0. NaN in the weights stays NaN."""
    none = weights == 0
    return paddle.where(none, paddle.zeros_like(total), total) / paddle.where(none, paddle.ones_like(weights), weights)
