"""`Direct` runs one PIR program many times, without the work that Paddle's `exe.run` repeats at every run.

At every run `exe.run` prints and hashes the program's text, which takes 43 µs for a small program and milliseconds for
ResNet-50. It also searches all inputs of the program and checks the feed. All results are known after the first run.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import paddle
from paddle.base import core
from paddle.base.executor import _add_pir_fetch_ops, _StandaloneExecutor

from ppema.environment import available_memory
from ppema.ir.base import Program, Variable, dtype_name

# The largest share of the available memory that the activations of one program may keep from step to step.
KEPT_PART = 1 / 8
# Without kept activations: the amount of unused memory that is freed together, in GiB.
WAITING_GIB = 1 / 16
_SIZES = {"float64": 8, "int64": 8, "complex64": 8, "float16": 2, "bfloat16": 2, "bool": 1, "uint8": 1, "int8": 1}


class Direct:
    """The Protocol of `base.Runner` for a PIR program on the CPU. Changes after the first run have no effect.

    The fed arrays must have the types that the program declares. Operations run one after another, since each uses all threads
    by itself: a thread pool's overhead exceeds the time of most operations. With enough memory, activations keep theirs from
    step to step. To free and allocate it again takes half of a small program's step and some 15 % of a convolutional network's,
    as the system clears each page.
    """

    def __init__(self, place: Any, scope: Any, program: Program, fetch: Sequence[Variable]):
        self._scope, self._place = scope, place
        self._source, self._fetch = program, list(fetch)
        self._rate = _rate_of(program)
        self._lowered: Any = None  # Paddle's executor of the program, from the first run on
        self._names: list[str] = []
        self._flags: dict[str, Any] = {}

    def run(self, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        for name, value in feed.items():
            fed = core.DenseTensor()
            fed.set(value, self._place)
            core.set_feed_variable(self._scope, fed, name, 0)
        if self._rate is not None:
            schedule, name, dtype = self._rate
            self._scope.find_var(name).get_tensor().set(np.array([schedule()], dtype), self._place)
        lowered = self._lowered or self._prepare(feed)
        # Paddle reads the flags when it lowers a program, and again at every run.
        with _flags(self._flags):
            return [np.array(value) for value in lowered.run(self._names, False)._move_to_list()]

    def _prepare(self, feed: Mapping[str, np.ndarray]) -> Any:
        copied = paddle.pir.IrMapping()
        program = self._source.clone(copied)
        _add_pir_fetch_ops(program, [copied.look_up(value) for value in self._fetch], "fetch")
        shapes = [value.shape for value in feed.values() if value.ndim]
        samples, longest = (max(sizes, default=1) for sizes in ([shape[0] for shape in shapes], itertools.chain(*shapes)))
        keep = activation_bytes(program, samples, longest) <= KEPT_PART * available_memory()
        self._flags = {"FLAGS_new_executor_serial_run": True, "FLAGS_eager_delete_tensor_gb": -1.0 if keep else WAITING_GIB}
        self._names = list(feed)
        with _flags(self._flags):
            plan = core.Plan([core.Job("default")], {"default": program})
            self._lowered = _StandaloneExecutor(self._place, plan, self._scope)._new_exe
        return self._lowered


def activation_bytes(program: Program, samples: int, longest: int) -> int:
    """The size in bytes of all results of a PIR program for a batch of `samples`: a bound of its activations.

    longest: the largest size of any axis of the batch. An open first dimension counts as `samples`, and any other open one as
    `longest`. A dimension that folds the batch with another, or repeats its input, is larger than that.
    """
    return sum(_bytes(value, samples, longest) for op in _walk(program.global_block()) for value in op.results())


def _bytes(value: Variable, samples: int, longest: int) -> int:
    if not value.initialized() or not value.is_dense_tensor_type() or value.persistable:
        return 0
    first, *others = value.shape or [1]
    sizes = [samples if first < 0 else first, *(longest if size < 0 else size for size in others)]
    return math.prod(sizes) * _SIZES.get(dtype_name(value), 4)


def _walk(block) -> Iterator[Any]:
    for op in block.ops:
        yield op
        for inner in op.blocks():
            yield from _walk(inner)


def _rate_of(program: Program) -> tuple[Any, str, str] | None:
    """The schedule of the program's learning rate, and the name and type of its variable. None: the program has no schedule."""
    if not hasattr(program, "lr_scheduler"):
        return None
    return program.lr_scheduler, program.lr_name, dtype_name(program.get_parameter_value_by_name(program.lr_name))


@contextmanager
def _flags(wanted: Mapping[str, Any]) -> Iterator[None]:
    """A context in which Paddle's flags are `wanted`. Afterwards they have their former values."""
    flags = core.globals()
    before = {name: flags[name] for name in wanted}
    try:
        for name, value in wanted.items():
            flags[name] = value
        yield
    finally:
        for name, value in before.items():
            flags[name] = value
