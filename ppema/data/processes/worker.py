"""The code of a worker process: it opens the data set, then reads the batches that the loader requests."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle

from ppema.data.dataset import Dataset, check_dataset
from ppema.data.fields import Field, check_finite
from ppema.data.layout import Layout
from ppema.data.order import Plan
from ppema.data.processes.shared import ArrayForm, Slot
from ppema.data.processes.surroundings import Surroundings
from ppema.data.read import BatchReader
from ppema.data.sets.arrays import ArrayDataset
from ppema.data.transformed import TransformedReader
from ppema.data.transforms.pipeline import Pipeline
from ppema.errors import DataError, PpemaError, one_line
from ppema.user_code.blame import blamed, whole_traceback

AHEAD = 2  # requests per worker: one batch in the making, one to continue with


@dataclass(frozen=True)
class Task:
    """The job of a worker, sent to it as a pickle. `open_dataset()` returns the data set.

    fields: before the transforms of `pipeline`; None: there are no transforms. finite: refuse a NaN and an infinity.
    """

    open_dataset: Callable[[], Dataset]
    layout: Layout
    fields: tuple[Field, ...]
    pipeline: Pipeline | None
    plan: Plan
    finite: bool


@dataclass(frozen=True)
class Failed:
    """A DataError of a worker as it is sent to the loader: its text, and its traceback as text."""

    text: str
    traceback: str

    def error(self) -> DataError:
        """The DataError. Its cause holds the worker's traceback."""
        made = DataError(self.text)
        made.__cause__ = WorkerTracebackError(f"in a worker process:\n{self.traceback}")
        return made


class WorkerTracebackError(Exception):
    """The traceback of an error in a worker process, as text."""


def serve(requests: Connection, task: bytes, label: str, surroundings: Surroundings) -> None:
    """Receive the descriptors of AHEAD slots of shared memory, open the data set, send None, then serve batches.

    For each (epoch, step, slot) received, write that batch into that slot and send the forms of its arrays. If the data set or
    the batch can not be read, send a Failed instead. Ends when the other end of `requests` is closed or the parent process has
    ended. Ctrl-C and SIGTERM are ignored: the parent handles them.
    """
    surroundings.restore()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # A data set may import paddle, which warns in every process of more than one thread. One thread is enough, since workers
    # run in parallel. NumPy is loaded already and keeps its threads; its last bits depend on them.
    os.environ["OMP_NUM_THREADS"] = "1"
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _serve(requests, task, label)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _serve(requests: Connection, pickled: bytes, label: str) -> None:
    slots = [Slot(label, recv_handle(requests)) for _ in range(AHEAD)]
    try:
        task: Task = pickle.loads(pickled)
        plan = task.plan
        dataset = task.open_dataset()
        samples = check_dataset(dataset, label)
        if samples != plan.samples:
            raise DataError(f"{label}: {samples} samples in a worker, {plan.samples} in the main process")
        if isinstance(dataset, ArrayDataset) and task.layout.collate is None:
            dataset = dataset.renamed(task.layout.names, label)
    except PpemaError as error:
        requests.send(Failed(one_line(error), whole_traceback(error)))
        return
    except Exception as error:
        requests.send(Failed(f"{label}: the data set does not open in a worker: {blamed(error)}", whole_traceback(error)))
        return
    requests.send(None)
    plain = BatchReader(dataset, task.layout, task.fields, plan.seed, label)
    reader = TransformedReader(plain, task.pipeline) if task.pipeline else plain
    epoch, order = -1, plan.order(0)
    while True:
        wanted, step, slot = requests.recv()
        if wanted != epoch:
            epoch, order = wanted, plan.order(wanted)
        try:
            indices = plan.batch(order, step)
            arrays = reader.batch(epoch, indices, slots[slot].arrays)
            if task.finite:
                check_finite(arrays, reader.fields, indices, label)
        except DataError as error:
            requests.send(Failed(str(error), whole_traceback(error)))
        else:
            requests.send([ArrayForm(array.shape, array.dtype.name) for array in arrays])


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
