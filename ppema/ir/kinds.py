"""What is known of an operation by its kind, attributes or call stack, on either version of Paddle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import paddle

from ppema.ir.base import Operation

# Operations that draw random numbers without an `is_test` switch, on either version: axis-wise dropout, alpha dropout, noise.
RANDOM_KINDS = frozenset(
    {
        *("uniform", "gaussian", "uniform_random", "gaussian_random", "truncated_gaussian_random", "exponential"),
        *("bernoulli", "binomial", "multinomial", "poisson", "dirichlet", "standard_gamma", "gumbel_softmax"),
        *("randint", "randperm", "uniform_random_batch_size_like", "gaussian_random_batch_size_like"),
    }
)


def draws_random_numbers(operation: Operation) -> bool:
    """Whether it does so in test mode too."""
    return operation.kind.rstrip("_") in RANDOM_KINDS


def keeps_master_weights(kind: str) -> bool:
    """Whether an optimizer's operation updates the master weight that it is given.

    Measured on both versions: on a CPU, sgd, the one optimizer that runs on bfloat16 there, updates the parameter itself and
    leaves its master weight as it was in the beginning.
    """
    return kind != "sgd" or paddle.is_compiled_with_cuda()


def statistics_stand_still(attributes: Mapping[str, Any]) -> bool:
    """Whether a BatchNorm operation with these attributes leaves its running mean and variance as they are."""
    fixed = attributes["is_test"] and not attributes.get("trainable_statistics")
    return bool(fixed or attributes.get("use_global_stats"))


def user_frame(callstack: Iterable[str]) -> str:
    """ "file:line" of the innermost frame in an operation's call stack that is not Paddle's own, "" where there is none."""
    found = ""
    for line in callstack:
        path, _, rest = line.strip().removeprefix('File "').partition('", line ')
        if rest and "/paddle/" not in path:
            found = f"{path}:{rest.partition(',')[0]}"
    return found
