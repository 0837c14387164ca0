"""The worker processes of one loader: started once, they make batches in turn. A dead worker is an error, not a hang.

`concurrent.futures.ProcessPoolExecutor` was tried in its place (Python 3.11, spawn). Its `shutdown` returns at once, but the
interpreter's end waits for a sample that hangs. A worker that dies is a BrokenProcessPool, without its number, exit code or
signal. Workers outlive a parent that is killed, and results are pickled: a batch of 38 MB took 500 ms, here 60.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import signal
import threading
import time
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

from ppema.data.processes.shared import Slot
from ppema.data.processes.surroundings import starting
from ppema.data.processes.worker import AHEAD, Failed, Task, serve
from ppema.data.read import Cancelled
from ppema.errors import DataError, DeadWorkerError, one_line
from ppema.user_code.blame import blamed

POLL_SECONDS = 0.1  # a wait checks this often whether its epoch was closed
END_SECONDS = 2.0


@dataclass
class Worker:
    """One process, our end of its pipe, and the memory into which it writes batches.

    due: the jobs whose replies are still to come, in order. The first job opens the data set; its reply sets `open`.
    """

    process: BaseProcess
    pipe: Any  # a Connection, whose class has another name on Windows
    slots: list[Slot]
    due: deque[str] = field(default_factory=lambda: deque(["opened the data set"]))
    open: bool = False


class WorkerPool:
    """`count` processes. Each opens the data set by `task` and reads batches of its plan.

    The processes are spawned, because paddle's threads do not survive a fork. They end with `close`, with the pool, and with
    this process, however it ends. Raises DataError if the task can not be pickled or a process can not be started.
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
            except OSError as error:
                raise DataError(f"{label}: worker {number} did not start: {one_line(error)}") from error

    @property
    def alive(self) -> bool:
        """False once the pool is closed or broken. Such a pool can not be used again."""
        return self._end.alive

    def batches(self, epoch: int, steps: range, closed: Callable[[], bool]) -> Iterator[tuple[np.ndarray, ...]]:
        """The arrays of the batches `steps` of `epoch`, in order. Each worker has up to AHEAD batches in the making.

        One epoch is read at a time: another one, in another thread, waits until this generator ends.

        Raises DataError in place of a batch for an unreadable sample, and for a data set that does not open in a worker. Raises
        DeadWorkerError for a worker that died, and Cancelled soon after `closed()` becomes true.
        """
        with self._turn:
            for number, worker in enumerate(self._workers):
                while len(worker.due) > (not worker.open):  # replies still to come for an epoch that was closed early
                    self._reply(number, closed)
            for place in range(len(steps))[: AHEAD * len(self._workers)]:
                self._ask(epoch, steps, place)
            for place in range(len(steps)):
                number = place % len(self._workers)
                if not self._workers[number].open:
                    self._reply(number, closed)
                reply = self._reply(number, closed)
                if isinstance(reply, Failed):
                    raise reply.error()
                arrays = tuple(array.copy() for array in self._workers[number].slots[self._slot(place)].arrays(reply))
                following = place + AHEAD * len(self._workers)
                if following < len(steps):
                    self._ask(epoch, steps, following)
                yield arrays

    def close(self) -> None:
        """End the processes at once. Close the epoch that is being read first. Idempotent."""
        taken = self._turn.acquire(timeout=END_SECONDS)
        self._end()
        if taken:
            self._turn.release()

    def _ask(self, epoch: int, steps: range, place: int) -> None:
        """Ask for the batch at `place` in `steps`. Workers take turns by places, so that all work whatever the stride."""
        worker, step = self._workers[place % len(self._workers)], steps[place]
        worker.due.append(f"read batch {step} of epoch {epoch}")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # `_reply` reports a dead worker
            worker.pipe.send((epoch, step, self._slot(place)))

    def _slot(self, place: int) -> int:
        """The slot of the batch at `place`. Batches that one worker makes at the same time have different slots."""
        return place // len(self._workers) % AHEAD

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
            raise DeadWorkerError(f"{self._label}: worker {number} {_fate(worker)} while it {worker.due[0]}") from None
        worker.due.popleft()
        if not worker.open and isinstance(reply, Failed):
            self._end()
            raise reply.error()
        worker.open = True
        return reply


def _start(context: SpawnContext, number: int, task: Task, pickled: bytes, label: str) -> Worker:
    slots = [Slot(label) for _ in range(AHEAD)]
    ours, theirs = Pipe()
    with theirs, starting() as surroundings:
        arguments = (theirs, pickled, label, surroundings)
        process = context.Process(target=serve, args=arguments, name=f"ppema-worker-{number}", daemon=True)
        # Ctrl-C reaches every process of a terminal, and SIGTERM every process of a job. The run must save first, and
        # needs its workers until then. A mask set before the start protects a worker that is still starting.
        # The tracker runs first: starting it during `process.start` would unblock the signals.
        resource_tracker.ensure_running()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for slot in slots:
            send_handle(ours, slot.descriptor, process.pid)
    return Worker(process, ours, slots)


def _fate(worker: Worker) -> str:
    """How the process ended, in words that "while it ..." can follow."""
    code = worker.process.exitcode
    if code is None:
        return "closed its pipe, and does not end"
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"was killed by {name}{' (out of memory?)' * (name == 'SIGKILL')}"


def _end(workers: list[Worker]) -> None:
    for worker in workers:
        worker.pipe.close()
        # Workers ignore SIGTERM, and hold nothing that could be lost.
        worker.process.kill()
    end = time.monotonic() + END_SECONDS
    for worker in workers:
        # A process that waits for a broken disk outlives its kill.
        worker.process.join(max(0.0, end - time.monotonic()))
        for slot in worker.slots:
            slot.close()
