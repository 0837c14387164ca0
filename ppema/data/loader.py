"""Reads a data set in batches, epoch after epoch. The order depends on the seed and the epoch only."""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ppema.config.sections.transform_spec import TransformSpec
from ppema.data.class_names import names_in
from ppema.data.dataset import Dataset, check_dataset
from ppema.data.fields import Field, check_finite
from ppema.data.layout import STACKED, Layout
from ppema.data.order import Plan
from ppema.data.prefetch import Handover, at_once, never, prefetch
from ppema.data.processes.pool import WorkerPool
from ppema.data.processes.worker import Task
from ppema.data.read import BatchReader
from ppema.data.transformed import TransformedReader
from ppema.errors import DataError
from ppema.ranks import ONE, Ranks
from ppema.user_code.modules import folders_looked_in, looking_in


@dataclass(frozen=True)
class Batch:
    """n stacked samples, which are a rank's part of a batch, or all of it.

    arrays: one array [n, *shape] for each field of the loader, in its order: inputs first, then targets; indices: int64[n],
    the samples' indices in the data set. number: of the batch in its epoch. share: n divided by the number of samples in the
    whole batch, but 0 if the rank reads a sample of another rank, for lack of one of its own; whole: that number, None if it
    is n.
    """

    arrays: tuple[np.ndarray, ...]
    indices: np.ndarray
    number: int = 0
    share: float = 1.0
    whole: int | None = None

    @property
    def size(self) -> int:
        """The number of samples of the batch over all ranks."""
        return len(self.indices) if self.whole is None else self.whole


# Copying a batch of up to this size takes less time than receiving it from a thread, some 50 µs.
QUICK_BYTES = 1 << 20


class Loader:
    """Reads `dataset` in batches, ahead of their use. Small batches of an ArrayDataset are read on request instead.

    batch_size: samples per batch, ≥ 1. The last batch of an epoch may be shorter.
    shuffle: draw a new permutation each epoch, from (seed, epoch).
    drop_last: omit a last batch that is shorter than the others.
    workers: the number of reading processes. 0 reads in a thread of this process. An ArrayDataset uses processes for
        transforms only.
    seed: ≥ 0; seeds the order, and `random` and `np.random` for each sample (see `ppema.data.read`).
    label: the name of this data in messages, such as "data.train".
    layout: the names of fields, declared shapes, and what puts samples together.
    transforms: applied to each batch, in order (see `ppema.data.transforms`).
    open_dataset: a picklable callable. Each worker process opens the data set by it; None: `dataset` itself is pickled.
    indices: the samples to read, int64[n] ascending; None: all of them.
    finite: refuse samples with a NaN or an infinity: in memory at once, others when their batch is read.

    The batches are equal, bit for bit, for every number of workers and every `start`. quick: whether they are read on request.

    Raises ValueError for a number below its minimum. Raises DataError for an empty data set, for an unusable sample 0, and if
    `drop_last` omits the only batch. Raises ConfigError at ("transforms", ...) for transforms that do not fit the fields.
    Warns if `workers` has no effect.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        batch_size: int,
        shuffle: bool = False,
        drop_last: bool = False,
        workers: int = 0,
        seed: int = 0,
        label: str = "data.train",
        layout: Layout = STACKED,
        transforms: Sequence[TransformSpec] = (),
        open_dataset: Callable[[], Dataset] | None = None,
        indices: np.ndarray | None = None,
        finite: bool = False,
    ):
        if batch_size < 1 or workers < 0 or seed < 0:
            raise ValueError(f"batch_size {batch_size} < 1, or workers {workers} or seed {seed} < 0")
        self._plan = Plan(check_dataset(dataset, label), batch_size, shuffle, drop_last, seed, indices)
        if self.steps_per_epoch == 0:
            raise DataError(f"{label}: {self.samples} samples make no batch of {batch_size}, and drop_last is true")
        self.label = label
        self._folders = folders_looked_in()
        plain = BatchReader.open(dataset, layout, seed, label)
        self._reader = TransformedReader.open(plain, transforms) if transforms else plain
        arrays = self._reader.arrays
        if workers and arrays is not None:
            warnings.warn(f"{label}: workers: {workers} is ignored: the data is in memory", stacklevel=2)
            workers = 0
        if finite and arrays is not None:
            rows = np.arange(self._plan.samples) if indices is None else indices
            check_finite([array[rows] for array in arrays] if indices is not None else arrays, self.fields, rows, label)
        self._finite = finite and arrays is None
        self._workers = min(workers, self.steps_per_epoch)
        self._open_dataset = open_dataset or functools.partial(_itself, dataset)
        self._pool: WorkerPool | None = None
        self.quick = arrays is not None and sum(array[0].nbytes for array in arrays) * batch_size <= QUICK_BYTES
        self._handover: Handover[Batch] = Handover()

    @property
    def samples(self) -> int:
        """The number of samples that an epoch reads, without regard to `drop_last`."""
        return self._plan.size

    @property
    def workers(self) -> int:
        """The number of reading processes."""
        return self._workers

    @property
    def dataset(self) -> Dataset:
        """The data set, of which `indices` may choose a part."""
        return self._reader.dataset

    @property
    def others(self) -> np.ndarray:
        """int64, ascending: the samples of the data set that this loader does not read."""
        return np.setdiff1d(np.arange(self._plan.samples), self._plan.order(0))

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields of every sample, in the order of a batch's arrays: inputs first, then targets."""
        return self._reader.fields

    @functools.cached_property
    def known(self) -> Mapping[str, np.ndarray] | None:
        """All samples by field, [N, ...], if they are arrays in memory; None for other data, which must be read.

        Inputs that transforms change are omitted. If they change a target, nothing is known.
        """
        return self._reader.known

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The names of the classes by label, if the data set knows them; None if transforms may change a target."""
        changed = self._reader.pipeline.touched if isinstance(self._reader, TransformedReader) else frozenset[str]()
        return None if any(each.is_target and each.name in changed for each in self.fields) else names_in(self.dataset)

    @property
    def random_transforms(self) -> tuple[str, ...]:
        """The names of the transforms that draw."""
        return self._reader.pipeline.random if isinstance(self._reader, TransformedReader) else ()

    @property
    def batch_size(self) -> int:
        """Samples per batch; the last batch may have fewer."""
        return self._plan.batch_size

    @property
    def steps_per_epoch(self) -> int:
        """The number of batches of an epoch, ≥ 1."""
        return self._plan.steps_per_epoch

    def twin(self, *, drop_last: bool) -> Loader:
        """A second loader of the same data set in the same order. Both may be read at the same time."""
        twin = copy.copy(self)
        twin._plan = replace(self._plan, drop_last=drop_last)
        twin._pool, twin._handover = None, Handover()
        return twin

    def sliced(self, ranks: Ranks) -> Loader:
        """A second loader, of a rank's part of each batch: rank r of N gets the samples [n*r // N, n*(r+1) // N) of n."""
        made = copy.copy(self)
        made._plan, made._pool, made._handover = self._plan.sliced(ranks), None, Handover()
        return made

    def part(
        self,
        indices: np.ndarray | None,
        *,
        batch_size: int,
        workers: int,
        shuffle: bool = False,
        drop_last: bool = False,
        transforms: Sequence[TransformSpec] = (),
        finite: bool = False,
    ) -> Loader:
        """A loader of some samples of the same data set, int64[n] ascending; None: of all. It has the same seed.

        Transforms of the user's own are found where this loader's were.
        """
        with looking_in(self._folders):
            return Loader(
                self._reader.dataset,
                batch_size=batch_size,
                shuffle=shuffle,
                drop_last=drop_last,
                workers=workers if transforms or self._reader.arrays is None else 0,
                seed=self._plan.seed,
                label=self.label,
                layout=self._reader.layout,
                transforms=transforms,
                open_dataset=self._open_dataset,
                indices=indices,
                finite=finite,
            )

    def together_and_alone(self, samples: int) -> tuple[Batch, list[Batch]] | None:
        """The first `samples` samples of epoch 0, or all if there are fewer: in one batch, and each in a batch of its own.

        They are read in this process. None without a collate function of the user's. Raises DataError as `epoch` does.
        """
        if self._reader.layout.collate is None:
            return None
        indices = self._plan.order(0)[:samples]
        together, *alone = (Batch(self._reader.batch(0, each), each) for each in (indices, *indices.reshape(-1, 1)))
        return together, alone

    def longer(self, batch: Batch) -> Batch | None:
        """`batch` with more padding, by `multiple_of` in each padded dimension; None if the layout has no padding."""
        padding = self._reader.layout.padding
        if padding is None:
            return None
        arrays = (padding.longer(each, array) for each, array in zip(self.fields, batch.arrays, strict=True))
        return Batch(tuple(arrays), batch.indices)

    def epoch(
        self, epoch: int, start: int = 0, stopped: Callable[[], bool] = never, ranks: Ranks = ONE
    ) -> Generator[Batch, None, None]:
        """The batches `start`, `start` + 1, ... of `epoch`. Both count from 0; earlier samples are not read.

        ranks: several of them share the batches: each reads the numbers that leave its rank when divided by their number.

        One epoch is open at a time: a new one closes the epoch before, whose iterator then raises RuntimeError. The iterator
        is a generator: `close()` it, or drop it, to stop early.

        Raises ValueError for an `epoch` or `start` out of range. The iterator raises DataError, one line, for a sample that
        raises, for a sample whose shapes or dtypes differ from sample 0, with `finite` for one with a NaN or an infinity, and
        for a worker that died (DeadWorkerError). It raises GivenUp if a batch takes longer than half a second while `stopped()`
        is true.
        """
        if epoch < 0 or not 0 <= start <= self.steps_per_epoch:
            raise ValueError(f"epoch {epoch} < 0, or start {start} not in 0..{self.steps_per_epoch}")
        self._handover.close()
        handover = self._handover = Handover[Batch]()
        if self._workers and (self._pool is None or not self._pool.alive):
            reader, pipeline = self._reader, None
            if isinstance(reader, TransformedReader):
                reader, pipeline = reader.reader, reader.pipeline
            task = Task(self._open_dataset, reader.layout, reader.fields, pipeline, self._plan, self._finite)
            self._pool = WorkerPool(task, self._workers, self.label)
        steps = range(start + (ranks.rank - start) % ranks.size, self.steps_per_epoch, ranks.size)
        read = functools.partial(self._read, epoch, steps, handover.closed)
        return at_once(read, handover) if self.quick else prefetch(read, handover, stopped)

    def abandon(self) -> None:
        """End the epoch as the process is about to end: closing its iterator does not wait for a sample that is being read."""
        self._handover.abandon()

    def close(self) -> None:
        """End the thread and the processes. Idempotent; a later `epoch` starts them again."""
        self._handover.close()
        if self._pool is not None:
            self._pool.close()

    def _read(self, epoch: int, steps: range, closed: Callable[[], bool]) -> Iterator[Batch]:
        order = self._plan.order(epoch)
        if self._pool is not None:
            for step, arrays in zip(steps, self._pool.batches(epoch, steps, closed), strict=True):
                yield self._batch(arrays, self._plan.batch(order, step), step)
            return
        for step in steps:
            indices = self._plan.batch(order, step)
            arrays = self._reader.batch(epoch, indices, cancelled=closed)
            if self._finite:
                check_finite(arrays, self.fields, indices, self.label)
            yield self._batch(arrays, indices, step)

    def _batch(self, arrays: tuple[np.ndarray, ...], indices: np.ndarray, step: int) -> Batch:
        if self._plan.ranks.size == 1:
            return Batch(arrays, indices, step)
        return Batch(arrays, indices, step, self._plan.share_of(step), self._plan.size_of(step))


def _itself(dataset: Dataset) -> Dataset:
    return dataset
