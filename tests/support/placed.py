"""One program twice: with Paddle's own kernels, and on oneDNN."""

from __future__ import annotations

from collections import Counter

import numpy as np
import paddle

from ppema.ir import backend
from ppema.passes.onednn import OnednnPass


class Side:
    """A program and its scope. build: builds it and returns the variables to fetch."""

    def __init__(self, build, *, onednn: bool, scope=None):
        self.main, self.startup = paddle.static.Program(), paddle.static.Program()
        with paddle.utils.unique_name.guard(), paddle.static.program_guard(self.main, self.startup):
            self.fetched = build()
        self.placement = OnednnPass().place(self.main, self.fetched) if onednn else None
        self.scope, self.executor = scope or paddle.static.Scope(), paddle.static.Executor(paddle.CPUPlace())
        if scope is None:
            paddle.seed(0)
            self._run(self.startup, {}, [])

    def _run(self, program, feed, fetched):
        with paddle.static.scope_guard(self.scope):
            return self.executor.run(program, feed=feed, fetch_list=fetched)

    def __call__(self, **feed):
        paddle.seed(1)  # dropout draws the same numbers in each run
        return self._run(self.main, feed, self.fetched)

    def kinds(self) -> Counter:
        return Counter(op.kind for op in backend().operations(self.main))


def both(build) -> tuple[Side, Side]:
    """The program on oneDNN, and with Paddle's own kernels, on the same variables."""
    native = Side(build, onednn=False)
    return Side(build, onednn=True, scope=native.scope), native


def distance(found, wanted) -> float:
    """‖found - wanted‖ / ‖wanted‖ over all arrays together."""
    pairs = [(np.float64(a), np.float64(b)) for a, b in zip(found, wanted, strict=True)]
    return np.sqrt(sum(((a - b) ** 2).sum() for a, b in pairs) / sum((b**2).sum() for _, b in pairs))
