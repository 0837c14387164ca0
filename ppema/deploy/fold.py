"""Folds BatchNorms of a test program into the convolutions and matrix products before them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ppema.ir import NormedProduct, Program, Variable, backend, scope


def folded(
    weight: np.ndarray,
    bias: np.ndarray,
    *,
    mean: np.ndarray,
    variance: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    epsilon: float,
    transposed: bool = False,
    groups: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias of the product with its BatchNorm in it, in float64.

    BN(W·x + b) = γ·(W·x + b - μ)/√(σ² + ε) + β = W'·x + b', with f = γ/√(σ² + ε), W' = f·W and b' = f·(b - μ) + β.

    weight: [C, ...], or [input channels, C / groups, ...] if `transposed`; the others: [C] or [].
    """
    channels = mean.shape[0]
    factor = np.broadcast_to(scale.astype(np.float64), channels) / np.sqrt(variance.astype(np.float64) + epsilon)
    wide = weight.astype(np.float64)
    if transposed:
        # Input channels are split into groups, of which each makes channels / groups output channels.
        split = wide.reshape(groups, weight.shape[0] // groups, channels // groups, -1)
        wide = (split * factor.reshape(groups, 1, -1, 1)).reshape(weight.shape)
    else:
        wide = wide * factor.reshape(-1, *[1] * (weight.ndim - 1))
    return wide, factor * (bias.astype(np.float64) - mean) + shift


def fold_norms(program: Program, outputs: Sequence[Variable], where: Any) -> Counter[str]:
    """Fold every BatchNorm of `program` that can be, and write new weights and biases into the scope `where`.

    outputs: the variables that the program is read by. Returns the number of folded BatchNorms by the kind of product. A
    product keeps its type, and the names of its parameters; one without a bias gets the BatchNorm's shift as its own.
    """
    done = Counter[str]()
    for product in backend().normed_products(program, outputs):
        _write(product, where)
        backend().fold(program, product)
        done[product.kind] += 1
    return done


def norms(program: Program) -> int:
    """The number of BatchNorms in `program`."""
    return sum(operation.kind.rstrip("_") in ("batch_norm", "sync_batch_norm") for operation in backend().operations(program))


def _write(product: NormedProduct, where: Any) -> None:
    weight = scope.get(where, product.weight)
    target = product.bias or product.shift
    assert target is not None, "normed_products gives a product a bias or a shift"

    def value(name: str | None, default: float) -> np.ndarray:
        return np.array(default) if name is None else scope.get(where, name)

    new_weight, new_bias = folded(
        weight,
        value(product.bias, 0.0),
        mean=scope.get(where, product.mean),
        variance=scope.get(where, product.variance),
        scale=value(product.scale, 1.0),
        shift=value(product.shift, 0.0),
        epsilon=product.epsilon,
        transposed=product.transposed,
        groups=product.groups,
    )
    scope.put(where, {product.weight: new_weight.astype(weight.dtype), target: new_bias.astype(weight.dtype)})
