"""ExponentialMovingAverage on a program whose weights a test sets at each step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import paddle
from numpy.typing import ArrayLike

from ppema.ema.exponential_moving_average import ExponentialMovingAverage
from ppema.ir import scope
from support.device import device_place


class Assigned:
    """A program with parameters, an optimizer of rate 0 that does not change them, and their average.

    initial: the parameters' initial values by name. frozen: names of parameters that are not trained. settings: arguments of
    the average.
    """

    def __init__(self, initial: Mapping[str, ArrayLike], *, frozen: tuple[str, ...] = (), **settings: Any):
        self.main, startup = paddle.static.Program(), paddle.static.Program()
        self._scope, self._executor = paddle.static.Scope(), paddle.static.Executor(device_place())
        self.variables = {}
        with paddle.utils.unique_name.guard(), paddle.static.program_guard(self.main, startup):
            for name, value in initial.items():
                array = np.asarray(value, "float32")
                attribute = paddle.ParamAttr(name, paddle.nn.initializer.Assign(array), trainable=name not in frozen)
                self.variables[name] = paddle.static.create_parameter(array.shape, "float32", attr=attribute)
            trained = [variable.sum() for name, variable in self.variables.items() if name not in frozen]
            paddle.optimizer.SGD(0.0).minimize(paddle.add_n(trained))
            self.ema = ExponentialMovingAverage(**settings)
            self.ema.update()
        self._run(startup)

    def step(self, **values: ArrayLike) -> dict[str, np.ndarray]:
        """Set parameters to `values`, run one step and return the averages."""
        scope.put(self._scope, {name: np.asarray(value, "float32") for name, value in values.items()})
        self._run(self.main)
        return self.averages()

    def averages(self) -> dict[str, np.ndarray]:
        """The averages by parameter's name."""
        names = {name: self.ema.average_name(name) for name, variable in self.variables.items() if variable.trainable}
        return {name: scope.get(self._scope, shadow) for name, shadow in names.items()}

    def weights(self) -> dict[str, np.ndarray]:
        return {name: scope.get(self._scope, name) for name in self.variables}

    def _run(self, program) -> None:
        with paddle.static.scope_guard(self._scope):
            self._executor.run(program)
