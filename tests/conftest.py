"""What the tests share: one thread, so that results are the same on every machine, and programs of their own."""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import settings
from support.device import device_place, environment

from ppema.environment import choose_threads, load_paddle

# How long an example takes depends on what else the machine does.
settings.register_profile("ppema", deadline=None)
settings.load_profile("ppema")
choose_threads(1)
os.environ |= environment()
paddle = load_paddle()


def inner_frames(frame=None, limit=None, *, whole=traceback.extract_stack):
    """`traceback.extract_stack`, where Paddle calls it: it keeps the stack of every operation, and most of that is pytest's.

    The innermost 16 frames, without their lines of source.
    """
    if frame is not None or limit is not None:
        return whole(frame, limit)
    found, each = [], sys._getframe(1)
    while each is not None and len(found) < 16:
        code = each.f_code
        found.append(traceback.FrameSummary(code.co_filename, each.f_lineno, code.co_name, lookup_line=False, line=""))
        each = each.f_back
    return found[::-1]


traceback.extract_stack = inner_frames
pytest_plugins = ["support.kernels"]
# These test what is for a CPU alone: oneDNN, and the operations in C++.
FOR_CPUS = {
    *("test_carried.py", "test_native.py"),
    *("test_channels_last.py", "test_onednn.py", "test_onednn_models.py", "test_onednn_run.py"),
}


class Built:
    """A small train program with BatchNorm, what is fed to it, and the scope it runs in."""

    def __init__(self, momentum: float = 0.9):
        self.main, self.startup = paddle.static.Program(), paddle.static.Program()
        self.scope, self.executor = paddle.static.Scope(), paddle.static.Executor(device_place())
        self._rng = np.random.default_rng(0)
        # A program's names are unique as long as one generator makes them all.
        before = paddle.utils.unique_name.switch()
        self._names, _ = paddle.utils.unique_name.switch(*before)
        with self.guard():
            images = paddle.static.data("images", [-1, 1, 6, 6], "float32")
            labels = paddle.static.data("labels", [-1], "int64")
            layers = [paddle.nn.Conv2D(1, 3, 3), paddle.nn.BatchNorm2D(3), paddle.nn.ReLU(), paddle.nn.Flatten()]
            self.logits = paddle.nn.Sequential(*layers, paddle.nn.Linear(48, 4))(images)
            self.loss = paddle.nn.functional.cross_entropy(self.logits, labels)
            self.momentum = momentum

    @contextmanager
    def guard(self):
        """Building goes on in this program."""
        with paddle.utils.unique_name.guard(self._names), paddle.static.program_guard(self.main, self.startup):
            yield

    def minimize(self) -> None:
        """Momentum, with a scheduler: its rate is a variable that must not be taken for a weight."""
        with self.guard():
            rate = paddle.optimizer.lr.ExponentialDecay(0.1, 0.99)
            paddle.optimizer.Momentum(rate, self.momentum).minimize(self.loss)

    def start(self) -> None:
        paddle.seed(0)
        with paddle.static.scope_guard(self.scope):
            self.executor.run(self.startup)

    def feed(self, size: int = 8) -> dict[str, np.ndarray]:
        images = self._rng.normal(size=(size, 1, 6, 6)).astype("float32")
        return {"images": images, "labels": self._rng.integers(0, 4, size)}

    def run(self, program=None, fetch=(), feed=None):
        with paddle.static.scope_guard(self.scope):
            return self.executor.run(program or self.main, feed=feed or self.feed(), fetch_list=list(fetch))

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.run(fetch=[self.loss])


@pytest.fixture
def built() -> Built:
    return Built()


@pytest.fixture
def here(built):
    """The scope of the fixture's program, made the current one as a script's global scope is."""
    with paddle.static.scope_guard(built.scope):
        yield built.scope


def pytest_collection_modifyitems(items):
    """The longest test comes first: at the end one worker would do it alone while the others wait."""
    items.sort(key=lambda item: item.path.name != "test_killed.py")
    if os.environ["PPEMA_TEST_DEVICE"] != "cpu":
        for item in items:
            if item.path.name in FOR_CPUS:
                item.add_marker(pytest.mark.skip(reason="for a CPU alone, and PPEMA_TEST_DEVICE is another device"))
