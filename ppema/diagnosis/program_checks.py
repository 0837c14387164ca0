"""Checks of programs: that a test clone is in test mode, and that an average can be swapped in and out."""

from __future__ import annotations

from typing import Any

import numpy as np

from ppema.diagnosis.finding import Finding, bounded
from ppema.diagnosis.paddle_checks import loaded_place

_EPSILON = 1e-5
_BOUND = 1e-5  # relative to the norm
_CHANNELS, _SIZE = 3, 4


class _Trained:
    """A program of BatchNorm and dropout on a device, with an average, its test clone, and what is fed to it."""

    def __init__(self, device: str):
        place = loaded_place(device)
        import paddle

        from ppema.ema.exponential_moving_average import ExponentialMovingAverage
        from ppema.passes.clone import clone_for_test

        self.main, self.startup = paddle.static.Program(), paddle.static.Program()
        self.scope, self.executor = paddle.static.Scope(), paddle.static.Executor(place)
        with paddle.utils.unique_name.guard(), paddle.static.program_guard(self.main, self.startup):
            self._images = paddle.static.data("images", [-1, _CHANNELS, _SIZE, _SIZE], "float32")
            norm = paddle.nn.BatchNorm2D(_CHANNELS, epsilon=_EPSILON)
            result = paddle.nn.functional.dropout(norm(self._images), 0.5)
            loss = ((result - 1) ** 2).mean()
            self.test, (self._result,) = clone_for_test(self.main, [result])
            self.names = {part.lstrip("_"): value.name for part, value in norm.state_dict().items()}
            paddle.optimizer.SGD(0.1).minimize(loss)
            self.ema = ExponentialMovingAverage(0.9)
            self.ema.update()
        self._rng = np.random.default_rng(0)
        self.fed = self._batch()
        paddle.seed(0)  # for dropout
        self._run(self.startup)

    def _batch(self) -> np.ndarray:
        return self._rng.normal(2.0, 3.0, size=(8, _CHANNELS, _SIZE, _SIZE)).astype("float32")

    def train(self) -> None:
        for _ in range(5):
            self._run(self.main, self._batch())

    def tested(self) -> np.ndarray:
        """The result of the test clone for the images `fed`."""
        return self._run(self.test, self.fed, [self._result])[0]

    def _run(self, program: Any, images: np.ndarray | None = None, fetched: Any = ()) -> list[np.ndarray]:
        import paddle

        with paddle.static.scope_guard(self.scope):
            return self.executor.run(program, feed={} if images is None else {"images": images}, fetch_list=list(fetched))

    def weights(self, *, averaged: bool = False) -> dict[str, np.ndarray]:
        """Copies of "weight", "bias", "mean" and "variance", or of their averages."""
        from ppema.ir import scope

        held = {part: self.ema.average_name(name) if averaged else name for part, name in self.names.items()}
        return {part: scope.get(self.scope, name) for part, name in held.items()}

    def distance(self, result: np.ndarray, weights: dict[str, np.ndarray]) -> float:
        """‖result - exact‖ / ‖exact‖: the formula of BatchNorm in test mode, in float64, without dropout."""
        of = {part: value.astype("float64").reshape(1, -1, 1, 1) for part, value in weights.items()}
        exact = of["weight"] * (self.fed - of["mean"]) / np.sqrt(of["variance"] + _EPSILON) + of["bias"]
        return float(np.linalg.norm(result - exact) / np.linalg.norm(exact))


def _same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return all(a[name].tobytes() == b[name].tobytes() for name in a)


def test_clone(device: str) -> Finding:
    """Whether `clone_for_test` fixes BatchNorm and dropout."""
    made = _Trained(device)
    initial = made.weights()
    made.train()
    before = made.weights()
    if _same({"mean": initial["mean"]}, before):
        return Finding("failed", "training does not update BatchNorm's statistics")
    first, second = made.tested(), made.tested()
    if not _same(before, made.weights()):
        return Finding("failed", "the test clone changes BatchNorm's statistics")
    if first.tobytes() != second.tobytes():
        return Finding("failed", "the test clone has other results at each run: dropout is not off")
    error = made.distance(first, before)
    return bounded(error, _BOUND, f"is_test is on; statistics stay; results differ from float64 by {error:.1e} of their norm")


def swap(device: str) -> Finding:
    """Whether `apply` puts the averages in place of the weights, and the raw weights come back, bit for bit."""
    import paddle

    made = _Trained(device)
    made.train()
    raw, averages = made.weights(), made.weights(averaged=True)
    if _same(raw, averages):
        return Finding("failed", "the averages are the raw weights")
    with paddle.static.scope_guard(made.scope), made.ema.apply(made.executor):
        if not _same(averages, made.weights()):
            return Finding("failed", "inside apply the weights are not the averages")
        error = made.distance(made.tested(), averages)
    if not _same(raw, made.weights()):
        return Finding("failed", "after apply the raw weights have other bits than before")
    if not _same(averages, made.weights(averaged=True)):
        return Finding("failed", "after apply the averages have other bits than before")
    return bounded(error, _BOUND, f"bit for bit; results with the averages differ from float64 by {error:.1e} of their norm")
