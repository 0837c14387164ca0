"""A program without training: a test sets the weights of each step and reads their averages."""

from __future__ import annotations

import numpy as np
import paddle

from ppema.ir import backend, scope
from ppema.ranks import ONE
from support.appended import appended
from support.device import device_place

SHAPES = {"scalar": [], "one": [1], "large": [7, 31, 3]}


class Fed:
    """A program with parameters and averages, and without training: the test sets the weights of each step."""

    def __init__(self, *, ranks=ONE, **rules):
        """rules: of the averages, by name. ranks: those that share them."""
        self._main, startup = paddle.static.Program(), paddle.static.Program()
        self.scope, self._executor = paddle.static.Scope(), paddle.static.Executor(device_place())
        with paddle.utils.unique_name.guard(), paddle.static.program_guard(self._main, startup):
            initial = paddle.nn.initializer.Constant(5.0)
            for name, shape in SHAPES.items():
                paddle.static.create_parameter(shape, "float32", name=name, default_initializer=initial)
            parameters = backend().parameters(self._main)
            self.averages = {
                name: appended(self._main, startup, rule, parameters, name=name, ranks=ranks) for name, rule in rules.items()
            }
        with paddle.static.scope_guard(self.scope):
            self._executor.run(startup)

    def step(self, values):
        scope.put(self.scope, values)
        with paddle.static.scope_guard(self.scope):
            self._executor.run(self._main)

    def shadows(self, average):
        return {name: scope.get(self.scope, f"{name}.{average}").astype("float64") for name in SHAPES}


def walk(seed, steps):
    """A random walk of each variable from about 10. An average near zero would have no meaningful relative error."""
    rng = np.random.default_rng(seed)
    values = {name: 10 + rng.normal(size=shape) for name, shape in SHAPES.items()}
    for _ in range(steps):
        values = {name: value + rng.normal(size=value.shape) * 0.1 for name, value in values.items()}
        yield {name: value.astype("float32") for name, value in values.items()}
