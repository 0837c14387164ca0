"""Runs programs in a run's scope. Paddle's reports of many lines become an error of one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import paddle

from ppema.data import Batch
from ppema.errors import TrainingError, listed
from ppema.ir import Program, Runner, Variable, backend
from ppema.ir.plain import Plain
from ppema.user_code.blame import blamed


class Executor:
    """Runs programs on one device and in one scope, which must be the current one.

    place: the paddle place; plain: always use Paddle's `exe.run`, instead of faster runners for repeated programs.
    """

    def __init__(self, place: Any, scope: Any, *, plain: bool = False):
        self._executor = paddle.static.Executor(place)
        self._place = place
        self._scope = scope
        self._plain = plain
        # Keys hold identities, so program and variables are kept alive: no other object can get their identity.
        self._runners: dict[tuple[int, ...], tuple[Runner, Program, tuple[Variable, ...]]] = {}

    def once(self, program: Program, feed: Mapping[str, np.ndarray], fetch: Sequence[Variable] = ()) -> list[np.ndarray]:
        """Run a program that runs once, such as a startup program. Returns and raises as `run` does."""
        backend().settle()
        return _told(Plain(self._executor, program, fetch).run, feed)

    def run(self, program: Program, feed: Mapping[str, np.ndarray], fetch: Sequence[Variable] = ()) -> list[np.ndarray]:
        """Run `program` and return the arrays of `fetch`. The program must not change after its first run.

        feed: arrays by input name. Raises TrainingError if an operation fails.
        """
        key = (id(program), *map(id, fetch))
        if key not in self._runners:
            self._runners[key] = (self._runner(program, fetch), program, tuple(fetch))
        backend().settle()
        return _told(self._runners[key][0].run, feed)

    def close(self) -> None:
        """Free the memory that programs keep between runs. Idempotent; a later `run` prepares its program again.

        Another executor that ran a program in this scope must not run it again.
        """
        self._runners.clear()
        # Paddle's executor holds the scopes that are dropped below.
        self._executor = paddle.static.Executor(self._place)
        # Paddle keeps every scope until the process ends. A child scope for each program holds the program's activations.
        self._scope.drop_kids()

    def _runner(self, program: Program, fetch: Sequence[Variable]) -> Runner:
        if self._plain:
            return Plain(self._executor, program, fetch)
        return backend().runner(self._executor, self._scope, program, fetch)


class FailedBatchError(TrainingError):
    """An operation refused the numbers of a batch, such as a token beyond the vocabulary. Names the samples of the batch."""


def is_refusal(error: TrainingError) -> bool:
    """Whether the `error` of a run is that of an operation which refused its inputs, rather than lack of memory."""
    return isinstance(error.__cause__, (ValueError, IndexError))


def failed_on(batch: Batch, label: str, error: TrainingError) -> TrainingError:
    """The `error` of a run on `batch`, with the samples of the batch. label: of the data, such as "data.train".

    It is a FailedBatchError if an operation refused its inputs, rather than failed for lack of memory.
    """
    kind = FailedBatchError if is_refusal(error) else TrainingError
    return kind(f"{label}: the batch of samples {listed(list(map(str, batch.indices)))}: {error}")


def _told(run: Callable[[Mapping[str, np.ndarray]], list[np.ndarray]], feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    try:
        return run(feed)
    except Exception as error:
        raise TrainingError(f"an operation failed: {blamed(error)}") from error
