"""Inputs of a data set, read by a loader: those of a config, or one of the user's own, whose targets are ignored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ppema.config.sections.transform_spec import TransformSpec
from ppema.data.dataset import Dataset
from ppema.data.fields import FieldNames
from ppema.data.given.preparation import Preparation, finite
from ppema.data.inputs import BatchTurns, InputBatch
from ppema.data.layout import Layout, Padding
from ppema.data.loader import Batch, Loader
from ppema.errors import DataError


@dataclass(frozen=True)
class Stripped:
    """A view of `dataset` whose samples have no targets.

    inputs: their number; targets: the number of targets that a sample may have after them. Mappings are as they were.
    """

    dataset: Dataset
    inputs: int
    targets: int

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return self.strip(self.dataset[index])

    def strip(self, sample: Any) -> Any:
        """`sample`, or a batch of samples, without its targets."""
        if isinstance(sample, (tuple, list)) and len(sample) == self.inputs + self.targets:
            return tuple(sample[: self.inputs])
        return (sample,) if self.inputs == 1 and not isinstance(sample, (tuple, list, Mapping)) else sample


def without_targets(layout: Layout, names: Sequence[str], own: Stripped) -> Layout:
    """The layout of the inputs `names` alone. A collate function of the user's gets whole samples; `own` strips its batch."""
    padding, collate = layout.padding, layout.collate
    if padding is not None:
        padding = Padding({name: value for name, value in padding.values.items() if name in names}, padding.multiple_of)
    shapes = {name: shape for name, shape in layout.shapes.items() if name in names}
    stripped = None if collate is None else lambda samples: own.strip(collate(samples))
    return Layout(FieldNames(tuple(names), ()), shapes, padding if shapes else None, stripped)


class LoaderInputs:
    """The inputs of all samples of `loader`, which it closes. transforms: those of the loader.

    Raises DataError for samples of another form than the model takes.
    """

    def __init__(self, loader: Loader, how: Preparation, transforms: Sequence[TransformSpec] = ()):
        self._loader, self._how, self._transforms = loader, how, transforms
        inputs = [field for field in loader.fields if not field.is_target]
        if [(each.shape, each.dtype) for each in inputs] != [(each.shape, each.dtype) for each in how.fields]:
            ours, theirs = (", ".join(f"{each.name} {each}" for each in fields) for fields in (inputs, how.fields))
            loader.close()
            raise DataError(f"{loader.label}: its inputs are {ours}, the model takes {theirs}")

    @property
    def total(self) -> int:
        """The number of samples."""
        return self._loader.samples

    def batches(self, batch_size: int, turns: BatchTurns) -> Iterator[InputBatch]:
        """See `InputSource`. The batches are those of the loader, whose size is `batch_size`."""
        assert batch_size == self._loader.batch_size, "the loader was opened for this size"
        ranks = turns.take(self._loader.steps_per_epoch)
        step = ranks.rank
        with closing(self._loader):
            while step < self._loader.steps_per_epoch:
                try:
                    for batch in self._loader.epoch(0, step, ranks=ranks):
                        yield self._taken(batch)
                        step += ranks.size
                except DataError:
                    if self._how.on_error == "stop":
                        raise
                    yield from self._each(step * batch_size, batch_size)
                    step += ranks.size

    def _taken(self, batch: Batch) -> InputBatch:
        names = tuple(f"{self._loader.label}[{index}]" for index in batch.indices.tolist())
        return finite(self._how, names, batch.arrays[: len(self._how.fields)])

    def _each(self, start: int, count: int) -> Iterator[InputBatch]:
        """The samples from `start`, each read alone: one of them can not be read."""
        loader = self._loader
        every = np.setdiff1d(np.arange(len(loader.dataset)), loader.others)[start : start + count].tolist()
        for index in every:
            try:
                one = loader.part(np.array([index]), batch_size=1, workers=0, transforms=self._transforms)
                with closing(one):
                    made = self._taken(next(one.epoch(0)))
            except DataError as error:
                reason = str(error).removeprefix(f"{loader.label}: sample {index}: ")
                made = InputBatch((), (), ((f"{loader.label}[{index}]", reason),))
            yield replace(made, more=index != every[-1])
