"""Programs with a weight of any type, as far as a CPU can train half types."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import paddle

from ppema.ir import scope
from support.device import device_place


def cuts() -> bool:
    """Whether the installed Paddle truncates in casts to bfloat16, as 2.6 does on a CPU, instead of rounding to nearest."""
    main, executor = paddle.static.Program(), paddle.static.Executor(device_place())
    with paddle.static.program_guard(main, paddle.static.Program()):
        # 1 plus 3/4 of a unit in bfloat16's last place.
        wide = paddle.cast(paddle.cast(paddle.full([1], 1 + 3 * 2**-9, "float32"), "bfloat16"), "float32")
    with paddle.static.scope_guard(paddle.static.Scope()):
        (value,) = executor.run(main, fetch_list=[wide])
    return value[0] == 1.0


class Moving:
    """A program that adds the fed value "by" to a weight "w" [5] of `dtype` and a bias "b" [5] float32 at each run.

    Its forward program reads both, the weight also in the branches of a `cond`.
    master: SGD with master weights moves the weight. It is the only optimizer with master weights on a CPU. It does not update
    them there, so a test sets their values.
    """

    def __init__(self, dtype: str, *, master: bool = False):
        self.main, self.startup = paddle.static.Program(), paddle.static.Program()
        self.scope, self.executor = paddle.static.Scope(), paddle.static.Executor(device_place())
        # One generator makes all names of the program, so they are unique.
        before = paddle.utils.unique_name.switch()
        self._names, _ = paddle.utils.unique_name.switch(*before)
        with self.guard():
            by = paddle.static.data("by", [5], "float32")
            self.flag = flag = paddle.static.data("flag", [], "bool")
            one = paddle.nn.initializer.Constant(1.0)
            w = paddle.static.create_parameter([5], dtype, name="w", default_initializer=one)
            b = paddle.static.create_parameter([5], "float32", name="b", default_initializer=one)

            def wide():
                return paddle.cast(w, "float32")

            self.outer = wide() + b
            self.inner = paddle.static.nn.cond(flag, lambda: wide() * 2.0, lambda: wide() + b)
            self._loss = (wide() * by).sum()
        self.dtype = dtype
        self._moved = (by, b) if master else (by, w, b)
        self._master = master

    @contextmanager
    def guard(self):
        with paddle.utils.unique_name.guard(self._names), paddle.static.program_guard(self.main, self.startup):
            yield

    def move(self) -> None:
        """Append the operations that move weight and bias, in place of an optimizer."""
        by, *moved = self._moved
        with self.guard():
            if self._master:
                paddle.optimizer.SGD(1.0, multi_precision=True).minimize(self._loss)
            for each in moved:
                paddle.assign((paddle.cast(each, "float32") + by).astype(each.dtype), output=each)

    def start(self) -> None:
        self.run(self.startup)

    def step(self, by) -> None:
        self.run(self.main, by=by)

    def run(self, program, fetch=(), *, by=0.0, flag=True):
        feed = {} if program is self.startup else {"by": np.full(5, by, "float32"), "flag": np.array(flag)}
        with paddle.static.scope_guard(self.scope):
            return self.executor.run(program, feed=feed, fetch_list=list(fetch))

    def get(self, name: str) -> np.ndarray:
        """The variable's value [5]; bfloat16 as float32."""
        value = scope.get(self.scope, name)
        return value.astype("float32") if value.dtype == "bfloat16" else value
