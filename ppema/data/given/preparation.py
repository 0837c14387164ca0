"""Makes a model's inputs of arrays that a user gives: types, transforms, and a check of shapes and values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ppema.config.sections.transform_spec import TransformSpec
from ppema.data.fields import Field, FieldNames
from ppema.data.inputs import InputBatch
from ppema.data.transforms.pipeline import Pipeline
from ppema.data.transforms.placed_transform import Origin
from ppema.data.transforms.table import build_pipeline
from ppema.errors import DataError

OnError = Literal["stop", "skip"]


def of_inputs(specs: Sequence[TransformSpec], names: Sequence[str]) -> tuple[TransformSpec, ...]:
    """The transforms `specs` without their targets; names: of the inputs. A transform of targets alone is left out."""
    found = []
    for spec in specs:
        fields = None if spec.fields is None else tuple(name for name in spec.fields if name in names)
        if fields != ():
            found.append(spec.replace(fields=fields))
    return tuple(found)


@dataclass(frozen=True)
class Preparation:
    """What evaluation does with inputs before its program.

    fields: of the model's inputs, after the transforms. transforms: those of `data.eval`; seed: of their draws.
    on_error: what happens to a sample that can not be used: "stop" raises DataError, "skip" leaves it out.
    place: makes a context for the section of the transforms, which completes errors.
    """

    fields: tuple[Field, ...]
    transforms: Sequence[TransformSpec] = ()
    seed: int = 0
    on_error: OnError = "stop"
    place: Callable[[], AbstractContextManager[None]] = nullcontext

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the inputs."""
        return tuple(field.name for field in self.fields)

    def started(self, source: str) -> Prepared:
        """Prepare the batches of one source, which messages call `source`."""
        return Prepared(replace(self, transforms=of_inputs(self.transforms, self.names)), source)


class Prepared:
    """Prepares the batches of one source, in order. The transforms are set up for its first sample."""

    def __init__(self, how: Preparation, source: str):
        self._how = how
        self._source = source
        self._pipeline: Pipeline | None = None

    def batch(self, names: Sequence[str], indices: np.ndarray, arrays: Sequence[np.ndarray]) -> InputBatch:
        """The batch of `arrays`, one [n, ...] for each input, which the user gives. indices: int64[n], of the samples.

        Raises DataError for arrays of other shapes or dtypes than the model takes, and, with "stop", for a sample.
        """
        try:
            converted = FieldNames(self._how.names, ()).convert(arrays, batch_axes=1)
        except DataError as error:
            raise DataError(f"{self._source}: {error}") from None
        if not self._how.transforms:
            return finite(self._how, tuple(names), self._checked(converted))
        pipeline = self._opened(converted)
        try:
            return finite(self._how, tuple(names), self._checked(self._transformed(pipeline, converted, indices)))
        except DataError:
            if self._how.on_error == "stop" or len(indices) == 0:
                raise
        return joined(self._each(pipeline, names, indices, converted), self._how.fields)

    def _each(
        self, pipeline: Pipeline, names: Sequence[str], indices: np.ndarray, arrays: Sequence[np.ndarray]
    ) -> Iterator[InputBatch]:
        """Each sample alone: the transforms refuse one of them."""
        for row, name in enumerate(names):
            one = [array[row : row + 1] for array in arrays]
            try:
                made = self._transformed(pipeline, one, indices[row : row + 1])
            except DataError as error:
                reason = str(error).removeprefix(f"{self._source}: ").removeprefix(f"sample {indices[row]}: ")
                yield InputBatch((), (), ((name, reason),))
            else:
                yield finite(self._how, (name,), self._checked(made))

    def _opened(self, arrays: Sequence[np.ndarray]) -> Pipeline:
        if self._pipeline is None:
            before = FieldNames(self._how.names, ()).fields(arrays, batch_axes=1)
            try:
                with self._how.place():
                    self._pipeline = build_pipeline(self._how.transforms, before, [array[:1] for array in arrays])
            except DataError as error:
                raise DataError(f"{self._source}: {error}") from error
            refuse_random(self._pipeline.random)
        return self._pipeline

    def _transformed(self, pipeline: Pipeline, arrays: Sequence[np.ndarray], indices: np.ndarray) -> tuple[np.ndarray, ...]:
        try:
            return pipeline.apply([array.copy() for array in arrays], Origin(self._how.seed, 0, indices))
        except DataError as error:
            raise DataError(f"{self._source}: {error}") from error

    def _checked(self, arrays: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        for field, array in zip(self._how.fields, arrays, strict=True):
            shape = array.shape[1:]
            if not field.holds(shape) or array.dtype.name != field.dtype:
                after = " after the transforms of data.eval" if self._how.transforms else ""
                raise DataError(
                    f"{self._source}: {field.name}: samples are {array.dtype.name} {list(shape)}{after}, the "
                    f"model takes {field}"
                )
        return arrays


def refuse_random(names: Sequence[str]) -> None:
    """Raises DataError for transforms `names` that draw: a prediction would depend on the place of its sample."""
    if names:
        raise DataError(f"data.eval.transforms: {names[0]} is random, and so would be the predictions: remove it")


def finite(how: Preparation, names: tuple[str, ...], arrays: tuple[np.ndarray, ...]) -> InputBatch:
    """The batch of `arrays`, one [n, ...] for each input, without the samples that hold a number that is not finite.

    Raises DataError for the first of them, with "stop".
    """
    faults: dict[int, str] = {}
    for field, array in zip(how.fields, arrays, strict=True):
        if array.dtype.kind != "f" or np.isfinite(array).all():
            continue
        good = np.isfinite(array).reshape(len(array), -1)
        for row in np.flatnonzero(~good.all(axis=1)):
            value = array[row].reshape(-1)[np.argmin(good[row])]
            faults.setdefault(int(row), f"{field.name} holds {value:g}")
    if not faults:
        return InputBatch(names, arrays)
    if how.on_error == "stop":
        row, fault = min(faults.items())
        raise DataError(f"{names[row]}: {fault}")
    return InputBatch(names, arrays).without(faults)


def joined(batches: Iterator[InputBatch], fields: Sequence[Field]) -> InputBatch:
    """One batch of all `batches`, whose arrays have one shape."""
    found = list(batches)
    full = [each for each in found if each.names]
    columns = zip(*(each.arrays for each in full), strict=True) if full else ((),) * len(fields)
    arrays = tuple(
        np.concatenate(column) if column else np.empty((0, *map(abs, field.shape)), field.dtype)
        for field, column in zip(fields, columns, strict=True)
    )
    return InputBatch(
        tuple(name for each in found for name in each.names), arrays, tuple(fault for each in found for fault in each.failed)
    )
