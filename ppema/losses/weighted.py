"""`Weighted`, the values of a loss with weights; and the mean of a loss over a batch."""

from __future__ import annotations

from typing import NamedTuple

import paddle

from ppema.ir import Variable


class Weighted(NamedTuple):
    """Values of which some count more than others, or not at all. Their mean is Σ values·weights / Σ weights.

    Both sums run over the batch in training, and over the data set in evaluation. The mean over a set is thus exact for any
    batch size, and so is the gradient of micro-batches if each counts by its Σ weights.

    values, weights: [N, …] float32 of one shape; weights ≥ 0. A value of weight 0 does not count, even if it is not finite.
    """

    values: Variable
    weights: Variable

    @property
    def counted(self) -> Variable:
        """values·weights, and 0 where the weight is 0: [N, …] float32."""
        return paddle.where(self.weights > 0, self.values, paddle.zeros_like(self.values)) * self.weights


def mean(loss: Variable | Weighted) -> Variable:
    """The mean of a batch, 0-D float32: over all values, or Σ values·weights / Σ weights, which is 0 if all weights are 0."""
    if not isinstance(loss, Weighted):
        return paddle.mean(loss)
    return _ratio(loss.counted.sum(), loss.weights.sum())


def per_sample(loss: Variable | Weighted) -> Variable | Weighted:
    """[N, …] → [N], with the mean over all other axes. A scalar is returned unchanged.

    Of `Weighted` values, each sample's weight is the sum of its weights, so that the mean of the batch stays the same.
    """
    if not isinstance(loss, Weighted):
        return loss if len(loss.shape) < 2 else loss.flatten(1).mean(axis=1)
    if len(loss.values.shape) < 2:
        return loss
    weights = loss.weights.flatten(1).sum(axis=1)
    return Weighted(_ratio(loss.counted.flatten(1).sum(axis=1), weights), weights)


def _ratio(total: Variable, weights: Variable) -> Variable:
    """total / weights, and 0 where the weights are 0."""
    return total / paddle.where(weights > 0, weights, paddle.ones_like(weights))
