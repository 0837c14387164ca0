"""JAX's side: a training step of the MLP with optax, compiled as a whole, with donated buffers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import jax  # pyright: ignore[reportMissingImports]
import numpy as np
import optax  # pyright: ignore[reportMissingImports]
from jax import numpy as jnp  # pyright: ignore[reportMissingImports]

from benchmarks.subjects import DECAY, MOMENTUM, RATE, SUBJECTS, Subject

# Of each linear layer: weights [inputs, outputs] and biases [outputs].
Weights = list[tuple[jax.Array, jax.Array]]


@contextmanager
def step(name: str) -> Iterator[Callable[[], float]]:
    """A step of training with an average on the batch of the subject `name`, an MLP, which returns the loss as a number."""
    subject, random = SUBJECTS[name], np.random.default_rng(0)
    widths = [subject.args["in_features"], *subject.args["hidden"], subject.args["num_classes"]]
    made = []
    for inputs, outputs in itertools.pairwise(widths):
        bound = (6 / (inputs + outputs)) ** 0.5
        made.append((random.uniform(-bound, bound, (inputs, outputs)), np.zeros(outputs)))
    yield trained(made, subject)


def trained(weights: Sequence[tuple[np.ndarray, np.ndarray]], subject: Subject) -> Callable[[], float]:
    """Forward, backward, `optax.sgd` with momentum and `optax.incremental_update`, in one function of XLA.

    weights: of each layer [inputs, outputs] and [outputs].
    """
    optimizer = optax.sgd(RATE, MOMENTUM)

    def loss_of(parameters: Weights, inputs: jax.Array, labels: jax.Array) -> jax.Array:
        for matrix, bias in parameters[:-1]:
            inputs = jax.nn.relu(inputs @ matrix + bias)
        matrix, bias = parameters[-1]
        return optax.softmax_cross_entropy_with_integer_labels(inputs @ matrix + bias, labels).mean()

    def taken(state: tuple, inputs: jax.Array, labels: jax.Array) -> tuple[tuple, jax.Array]:
        parameters, moments, average = state
        loss, gradients = jax.value_and_grad(loss_of)(parameters, inputs, labels)
        updates, moments = optimizer.update(gradients, moments, parameters)
        parameters = optax.apply_updates(parameters, updates)
        average = optax.incremental_update(parameters, average, 1 - DECAY)
        return (parameters, moments, average), loss

    parameters = [(jnp.asarray(matrix, jnp.float32), jnp.asarray(bias, jnp.float32)) for matrix, bias in weights]
    state = [(parameters, optimizer.init(parameters), jax.tree.map(jnp.copy, parameters))]
    compiled = jax.jit(taken, donate_argnums=0)
    inputs, labels = subject.arrays()

    def work() -> float:
        state[0], loss = compiled(state[0], inputs, labels)
        return float(loss)

    return work
