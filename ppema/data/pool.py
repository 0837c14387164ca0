"""The worker processes of one loader: started once, asked for batches in turn, never waited for in vain."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Pipe, wait
from multiprocessing.context import SpawnContext
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import send_handle
from typing import Any

import numpy as np

from ppema.data.read import Cancelled
from ppema.data.shared import create_shared, map_shared
from ppema.data.surroundings import starting
from ppema.data.worker import AHEAD, Failed, Task, serve
from ppema.errors import DataError, one_line
from ppema.user_code.blame import blamed

POLL_SECONDS = 0.1  # how soon a wait notices that its epoch was closed
END_SECONDS = 2.0


@dataclass
class Worker:
    """One process, our end of its pipe, and where it puts batches.

    due: what each reply that is still to come will say is done, in order. The first is that the data set is `open`.
    """

    process: BaseProcess
    pipe: Any  # a Connection, whose class has another name on Windows
    slots: tuple[tuple[np.ndarray, ...], ...]
    due: deque[str] = field(default_factory=lambda: deque(["opened the data set"]))
    open: bool = False


class WorkerPool:
    """`count` processes which each open the data set by `task` and read batches of its plan.

    They are spawned, not forked: paddle's threads do not survive a fork. They end with `close`, with the pool, and with
    this process, however it ends. Raises DataError when the task can not be pickled or no process can be started.
    """

    def __init__(self, task: Task, count: int, label: str):
        self._label = label
        self._plan = task.plan
        self._turn = threading.Lock()
        self._workers: list[Worker] = []
        self._end = weakref.finalize(self, _end, self._workers)
        try:
            pickled = pickle.dumps(task)
        except Exception as error:
            raise DataError(f"{label}: can not be sent to worker processes: {blamed(error)}") from error
        context = multiprocessing.get_context("spawn")
        for number in range(count):
            try:
                self._workers.append(_start(context, number, task, pickled, label))
            except (OSError, OverflowError) as error:  # OverflowError: more shared memory than there are addresses
                raise DataError(f"{label}: worker {number} did not start: {one_line(error)}") from error

    @property
    def alive(self) -> bool:
        """False once closed or broken: the pool is then of no more use."""
        return self._end.alive

    def batches(self, epoch: int, steps: range, closed: Callable[[], bool]) -> Iterator[tuple[np.ndarray, ...]]:
        """The arrays of the batches `steps` of `epoch`, in order, with AHEAD for each worker in the making.

        Raises DataError, in place of the batch it concerns, for a sample that can not be read, for a data set that does
        not open in a worker and for a worker that died, and Cancelled soon after `closed()` has become true. One epoch
        is read at a time: another, in another thread, waits until this generator has ended.
        """
        with self._turn:
            for number, worker in enumerate(self._workers):
                while len(worker.due) > (not worker.open):  # replies that an epoch closed early did not wait for
                    self._reply(number, closed)
            for step in steps[: AHEAD * len(self._workers)]:
                self._ask(epoch, step)
            for step in steps:
                number = step % len(self._workers)
                if not self._workers[number].open:
                    self._reply(number, closed)
                reply = self._reply(number, closed)
                if isinstance(reply, Failed):
                    raise reply.error()
                size = self._plan.batch_size_at(step)
                arrays = tuple(array[:size].copy() for array in self._workers[number].slots[self._slot(step)])
                following = step + AHEAD * len(self._workers)
                if following in steps:
                    self._ask(epoch, following)
                yield arrays

    def close(self) -> None:
        """End the processes, at once. The epoch that is being read must have been closed before. Idempotent."""
        taken = self._turn.acquire(timeout=END_SECONDS)
        self._end()
        if taken:
            self._turn.release()

    def _ask(self, epoch: int, step: int) -> None:
        worker = self._workers[step % len(self._workers)]
        worker.due.append(f"read batch {step} of epoch {epoch}")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # a dead worker is found when its reply is due
            worker.pipe.send((epoch, step, self._slot(step)))

    def _slot(self, step: int) -> int:
        """Steps that are in the making at one time, in one worker, have slots of their own."""
        return step // len(self._workers) % AHEAD

    def _reply(self, number: int, closed: Callable[[], bool]) -> Any:
        worker = self._workers[number]
        while not (arrived := wait([worker.pipe, worker.process.sentinel], POLL_SECONDS)):
            if closed():
                raise Cancelled
        try:
            if worker.pipe not in arrived:
                raise EOFError
            reply = worker.pipe.recv()
        except (EOFError, OSError):
            self._end()
            raise DataError(f"{self._label}: worker {number} {_fate(worker)} while it {worker.due[0]}") from None
        worker.due.popleft()
        if not worker.open and isinstance(reply, Failed):
            self._end()
            raise reply.error()
        worker.open = True
        return reply


def _start(context: SpawnContext, number: int, task: Task, pickled: bytes, label: str) -> Worker:
    descriptor = create_shared(task.fields, task.plan.largest_batch, AHEAD)
    try:
        slots = map_shared(descriptor, task.fields, task.plan.largest_batch, AHEAD)
        ours, theirs = Pipe()
        with theirs, starting() as surroundings:
            arguments = (theirs, pickled, label, surroundings)
            process = context.Process(target=serve, args=arguments, name=f"ppema-worker-{number}", daemon=True)
            # Ctrl-C reaches a terminal's whole group, and SIGTERM a job's; blocked from birth, neither can end a worker that
            # is still starting: the run saves first, and needs its workers until then.
            # Were the tracker not running already, the first start would run it, and unblock the signal on the way.
            resource_tracker.ensure_running()
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
            try:
                process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            send_handle(ours, descriptor, process.pid)
    finally:
        os.close(descriptor)
    return Worker(process, ours, slots)


def _fate(worker: Worker) -> str:
    """How the process ended, to be followed by "while it ..."."""
    code = worker.process.exitcode
    assert code is not None, "the process was joined"
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"was killed by {name}{' (out of memory?)' * (name == 'SIGKILL')}"


def _end(workers: list[Worker]) -> None:
    for worker in workers:
        worker.pipe.close()
        # They ignore SIGTERM, and have nothing to lose.
        worker.process.kill()
    for worker in workers:
        worker.process.join()
