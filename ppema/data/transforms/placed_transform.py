"""One transform of a pipeline: the fields on which it acts, and its run on a batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ppema.data.fields import Field, as_array, convert
from ppema.data.seeding import borrowed_generators
from ppema.data.transforms.draws import Draws
from ppema.data.transforms.own_transform import OwnTransform
from ppema.data.transforms.transform import Transform
from ppema.errors import DataError, one_line

_PART = 2**15  # numbers in a part of a batch
_ROUNDING = 1e-3  # the sum of an interpolation's weights may exceed 1 by less


@dataclass(frozen=True)
class Origin:
    """All that draws depend on, except for the place of the transform: seed, epoch, and the samples `indices`, int64[n]."""

    seed: int
    epoch: int
    indices: np.ndarray


@dataclass(frozen=True)
class PlacedTransform:
    """One transform, and the positions of the fields on which it acts, with the same draws.

    name: as in the config; place: in the list; after: these fields after the transform, () before the first run.
    """

    name: str
    transform: Transform | OwnTransform
    positions: tuple[int, ...]
    place: int
    after: tuple[Field, ...] = ()

    def misfit(self, fields: Sequence[Field]) -> str | None:
        """The reason why the transform does not apply to samples of `fields`; None if it does."""
        acted = [fields[position] for position in self.positions]
        for field in acted:
            if -1 in field.shape:
                return f"{field.name} has shape {list(field.shape)}: a transform needs one shape for all samples"
        if isinstance(self.transform, OwnTransform):
            return None
        for field in acted:
            if field.dtype != "float32" and not self.transform.geometric:
                return f"{field.name} is {field.dtype}, and {self.name} changes values of float32 only"
            if fault := self.transform.fault(field):
                return f"{field.name}: {fault}"
        if self.transform.images and len({field.shape[-2:] for field in acted}) > 1:
            shapes = ", ".join(f"{field.name} {list(field.shape)}" for field in acted)
            return f"fields that are transformed together need one height and width, got {shapes}"
        return None

    def run(
        self, arrays: Sequence[np.ndarray], fields: Sequence[Field], origin: Origin, wait: Callable[[], None]
    ) -> list[np.ndarray]:
        """`arrays`, one [n, ...] for each of `fields`, after the transform. It may write into them.

        wait: called before each sample of a transform of the user's own; it raises if the batch is no longer needed.
        Raises DataError, which names the sample and the transform.
        """
        if isinstance(self.transform, OwnTransform):
            return self._each(self.transform, arrays, fields, origin, wait)
        if not self.transform.images:
            return [self.transform.apply(array, None) for array in arrays]
        images = [array if array.ndim == 4 else array[:, None] for array in arrays]
        if self.transform.unit:
            for image in images:
                self._check_unit(image, origin.indices)
        drawn = self.transform.draw(Draws(origin.seed, origin.epoch, origin.indices, self.place), images[0].shape[1:])
        made = [_applied(self.transform, image, drawn) for image in images]
        return [image if array.ndim == 4 else image[:, 0] for image, array in zip(made, arrays, strict=True)]

    def _check_unit(self, images: np.ndarray, indices: np.ndarray) -> None:
        if images.dtype.kind == "f" and not (images.min() >= -_ROUNDING and images.max() <= 1 + _ROUNDING):
            bad = np.argwhere(~((images >= -_ROUNDING) & (images <= 1 + _ROUNDING)))[0]
            raise DataError(
                f"sample {indices[bad[0]]}: {self.name}: expected an image in [0, 1], got {float(images[tuple(bad)]):g}; "
                "Normalize belongs after it"
            )

    def _each(
        self,
        transform: OwnTransform,
        arrays: Sequence[np.ndarray],
        fields: Sequence[Field],
        origin: Origin,
        wait: Callable[[], None],
    ) -> list[np.ndarray]:
        """`arrays` after a transform of the user's own, sample by sample."""
        after, made = self.after, list[np.ndarray]()
        with borrowed_generators():
            for row, index in enumerate(origin.indices.tolist()):
                wait()
                try:
                    values = transform([array[row] for array in arrays], origin.seed, origin.epoch, index, self.place)
                    converted = [_converted(value, field) for value, field in zip(values, fields, strict=True)]
                    if not made:
                        after = after or tuple(map(_field_like, fields, converted))
                        made = [np.empty((len(origin.indices), *field.shape), field.dtype) for field in after]
                    for field, value in zip(after, converted, strict=True):
                        if _field_like(field, value) != field:
                            raise DataError(f"{field.name}: {_field_like(field, value)}, but {field} for sample 0")
                except DataError as error:
                    raise DataError(f"sample {index}: {self.name}: {error}") from error
                for array, value in zip(made, converted, strict=True):
                    array[row] = value
        return made


def _applied(transform: Transform, images: np.ndarray, drawn: Any) -> np.ndarray:
    size = max(1, _PART // math.prod(images.shape[1:]))
    if not transform.in_parts or len(images) <= size:
        return transform.apply(images, drawn)
    parts = [slice(start, start + size) for start in range(0, len(images), size)]
    return np.concatenate([transform.apply(images[part], _part(drawn, part)) for part in parts])


def _part(drawn: Any, part: slice) -> Any:
    """The parameters of some of the samples."""
    if isinstance(drawn, (tuple, list)):
        return type(drawn)(_part(each, part) for each in drawn)
    return None if drawn is None else drawn[part]


def _field_like(field: Field, value: np.ndarray) -> Field:
    """`field` with shape and dtype of `value`, one sample."""
    return replace(field, shape=value.shape, dtype=value.dtype.name)


def _converted(value: Any, field: Field) -> np.ndarray:
    """What a transform of the user's own returned, as an array of float32 or int64. Raises DataError."""
    try:
        if value is None:
            raise DataError("returned nothing; return the changed array")
        return convert(as_array(value), target=field.is_target)
    except DataError as error:
        raise DataError(f"{field.name}: {error}") from None
    except Exception as error:
        raise DataError(f"{field.name}: {one_line(error)}") from error
