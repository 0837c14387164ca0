"""How samples become batches: the names of their fields, the shapes that are declared, and what puts samples together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ppema.data.fields import Field, FieldNames
from ppema.errors import DataError
from ppema.user_code.names import did_you_mean

# Takes samples as a data set returns them. Returns a tuple, or a mapping by name, of arrays [n, ...].
Collate = Callable[[list[Any]], Any]


class LayoutError(DataError):
    """Shapes or padding that do not fit the samples. path: the key, from the section `data`."""

    def __init__(self, message: str, *path: str):
        super().__init__(message)
        self.path = path


@dataclass(frozen=True)
class Padding:
    """Pads the dimensions of -1 in a declared shape to the largest of the batch, at their ends.

    values: the number that fills a field, by name; 0 for the others; multiple_of: each padded dimension is a multiple of it.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    multiple_of: int = 1

    def shape(self, declared: tuple[int, ...], shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        """The smallest shape of the form `declared` that holds arrays of `shapes`."""
        largest = (max(sizes) for sizes in zip(*shapes, strict=True))
        step = self.multiple_of
        return tuple(-(-size // step) * step if given == -1 else size for given, size in zip(declared, largest, strict=True))

    def longer(self, each: Field, array: np.ndarray) -> np.ndarray:
        """`array` of a batch of the field `each`, with `multiple_of` more of the padded dimensions."""
        more = [(0, self.multiple_of * (size == -1)) for size in each.shape]
        return np.pad(array, [(0, 0), *more], constant_values=self.values.get(each.name, 0))

    def check(self, fields: Sequence[Field]) -> None:
        """Raises LayoutError if samples of `fields` can not be padded."""
        padded = {each.name: each for each in fields if -1 in each.shape}
        if not padded:
            raise LayoutError("pad requires data.shapes with -1 for each dimension to pad, as in {tokens: [-1]}", "collate")
        for name, value in self.values.items():
            path = ("collate", "args", "values", name)
            if name not in padded:
                known = [each.name for each in fields]
                no_field = did_you_mean(name, known) or f"; known: {', '.join(known)}"
                fault = "data.shapes declares no -1 for this field" if name in known else f"there is no such field{no_field}"
                raise LayoutError(fault, *path)
            if padded[name].dtype == "int64" and not float(value).is_integer():
                raise LayoutError(f"expected an integer, as the field is int64, got {value}", *path)


@dataclass(frozen=True)
class Layout:
    """How samples become arrays.

    names: of the fields; None: a sample is a tuple (input, ..., target), and the names are counted.
    shapes: the declared shapes of fields by name, without the batch axis. -1 is a dimension that differs from batch to batch.
    padding: of the dimensions of -1; None: the samples of a batch have one shape.
    collate: makes the arrays of a batch from its samples, in place of stacking and padding.
    """

    names: FieldNames | None = None
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    padding: Padding | None = None
    collate: Collate | None = None

    def declared(self, fields: Sequence[Field]) -> tuple[Field, ...]:
        """`fields`, those of sample 0, with the declared shapes.

        Raises LayoutError if a declared shape does not fit, or names no field, and if the samples can not be padded.
        """
        names = [each.name for each in fields]
        for name in self.shapes:
            if name not in names:
                meant = did_you_mean(name, names) or f"; known: {', '.join(names)}"
                raise LayoutError(f"there is no such field{meant}", "shapes", name)
        found = tuple(replace(each, shape=self.shapes.get(each.name, each.shape)) for each in fields)
        for each, of_sample in zip(found, fields, strict=True):
            if not each.holds(of_sample.shape):
                raise LayoutError(f"{list(each.shape)} does not fit sample 0, {of_sample}", "shapes", each.name)
        if self.padding is not None:
            self.padding.check(found)
        return found


STACKED = Layout()  # for tuples whose arrays have one shape


def batch_shape(
    each: Field, shapes: Sequence[tuple[int, ...]], indices: Sequence[int], padding: Padding | None
) -> tuple[int, ...]:
    """The shape of a row of the batch of the samples `indices`, whose arrays of the field `each` have `shapes`.

    Raises DataError if they differ and there is no padding.
    """
    if padding is not None:
        return padding.shape(each.shape, shapes)
    for index, shape in zip(indices, shapes, strict=True):
        if shape != shapes[0]:
            raise DataError(
                f"sample {index}: {each.name}: shape {list(shape)}, but sample {indices[0]} of its batch has "
                f"{list(shapes[0])}: pad them with data.collate: pad"
            )
    return shapes[0]
