"""Shared by tests of ExponentialMovingAverage: a program with an average, its weights, and the average in float64."""

from __future__ import annotations

import numpy as np

from ppema.averaging.decay import FLOATS
from ppema.ema.exponential_moving_average import ExponentialMovingAverage
from ppema.ir import backend, scope


def averaged(built, *args, **kwargs) -> ExponentialMovingAverage:
    """The class on a program that is ready to run, used as a user would."""
    built.minimize()
    with built.guard():
        ema = ExponentialMovingAverage(*args, **kwargs)
        ema.update()
    built.start()
    return ema


def weights(built) -> dict[str, np.ndarray]:
    return {p.name: scope.get(built.scope, p.name) for p in backend().parameters(built.main)}


def averages(built, ema) -> dict[str, np.ndarray]:
    return {name: scope.get(built.scope, ema.average_name(name)) for name in weights(built)}


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(a[name].tobytes() == b[name].tobytes() for name in a)


def recorded(built, steps):
    trajectory = []
    for _ in range(steps):
        built.run(fetch=[built.loss])
        trajectory.append({name: value.astype("float64") for name, value in weights(built).items()})
    return trajectory


def check_average(built, ema, trajectory, schedule):
    """Compare the averages with the definition in float64 numpy, with the decays of `schedule`."""
    decays = [schedule(float(n), 1, FLOATS) for n in range(len(trajectory))]
    factors = np.array([(1 - d) * np.prod(decays[i + 1 :]) for i, d in enumerate(decays)])
    for name, got in averages(built, ema).items():
        expected = sum(f * values[name] for f, values in zip(factors, trajectory, strict=True)) / factors.sum()
        assert np.linalg.norm(got - expected) <= 1e-6 * np.linalg.norm(expected), name
