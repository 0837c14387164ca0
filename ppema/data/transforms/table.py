"""The built-in transforms by name, and the pipeline of a config's list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import ValidationError

from ppema.config.wording import in_our_words
from ppema.data.fields import Field
from ppema.data.transforms.channel_normalize import ChannelNormalize
from ppema.data.transforms.colors import ColorJitter, Grayscale
from ppema.data.transforms.crops import CenterCrop, Pad, RandomCrop
from ppema.data.transforms.erasing import RandomErasing
from ppema.data.transforms.flips import RandomHorizontalFlip, RandomVerticalFlip
from ppema.data.transforms.own_transform import OwnTransform
from ppema.data.transforms.pipeline import Pipeline
from ppema.data.transforms.placed_transform import PlacedTransform
from ppema.data.transforms.rand_augment import RandAugment
from ppema.data.transforms.resizing import RandomResizedCrop, Resize
from ppema.data.transforms.transform import Transform
from ppema.data.transforms.warps import RandomAffine, RandomRotation
from ppema.errors import ConfigError, Problem, listed
from ppema.user_code.names import did_you_mean, resolve

TRANSFORMS: Mapping[str, type[Transform]] = {
    "RandomCrop": RandomCrop,
    "CenterCrop": CenterCrop,
    "Pad": Pad,
    "RandomHorizontalFlip": RandomHorizontalFlip,
    "RandomVerticalFlip": RandomVerticalFlip,
    "RandomRotation": RandomRotation,
    "RandomAffine": RandomAffine,
    "Resize": Resize,
    "RandomResizedCrop": RandomResizedCrop,
    "ColorJitter": ColorJitter,
    "Grayscale": Grayscale,
    "Normalize": ChannelNormalize,
    "RandomErasing": RandomErasing,
    "RandAugment": RandAugment,
}


def build_pipeline(specs: Sequence[Any], fields: Sequence[Field], sample: Sequence[np.ndarray]) -> Pipeline:
    """The pipeline of `specs`, which have `name`, `args` and `fields`, for samples with `fields`.

    sample: the arrays [1, *shape] of sample 0. The transforms run on it, because only that shows what one of the user's own
    returns. Raises ConfigError at ("transforms", place, ...) with the faults of every spec, for a spec without fields that
    moves an image and not its mask, and DataError for sample 0.
    """
    made, problems = list[PlacedTransform](), list[Problem]()
    for place, spec in enumerate(specs):
        try:
            positions = _positions(spec, fields)
            made.append(PlacedTransform(spec.name, build_transform(spec, len(positions)), positions, place))
        except ConfigError as error:
            problems += [Problem(("transforms", place, *each.path), each.message) for each in error.problems]
    if problems:
        raise ConfigError(problems)
    pipeline = Pipeline((), tuple(fields), tuple(fields))
    arrays = tuple(array.copy() for array in sample)
    for step, spec in zip(made, specs, strict=True):
        if message := step.misfit(pipeline.fields) or (_left_behind(step, pipeline.fields) if spec.fields is None else None):
            raise ConfigError.of(message, "transforms", step.place)
        pipeline, arrays = pipeline.extended(step, arrays)
    return pipeline


def _positions(spec: Any, fields: Sequence[Field]) -> tuple[int, ...]:
    """The positions of the fields that the spec names; of the first one without names."""
    names = [field.name for field in fields]
    if spec.fields is None:
        return (0,)
    wrong = [
        Problem(("fields", number), f"no field {name!r}{did_you_mean(name, names) or '; fields: ' + ', '.join(names)}")
        for number, name in enumerate(spec.fields)
        if name not in names
    ]
    wrong += [
        Problem(("fields", number), f"{name!r} is listed twice")
        for number, name in enumerate(spec.fields)
        if name in spec.fields[:number]
    ]
    if wrong:
        raise ConfigError(wrong)
    return tuple(names.index(name) for name in spec.fields)


def _left_behind(step: PlacedTransform, fields: Sequence[Field]) -> str | None:
    """The reason why `step` may not move the first field alone: others, such as a mask, have its height and width."""
    if isinstance(step.transform, OwnTransform) or not step.transform.geometric:
        return None
    image = fields[0].name
    others = [each.name for each in fields[1:] if len(each.shape) > 1 and each.shape[-2:] == fields[0].shape[-2:]]
    if not others:
        return None
    said = f"the field {others[0]!r} has" if len(others) == 1 else f"the fields {listed(list(map(repr, others)))} have"
    left = "it" if len(others) == 1 else "them"
    every = ", ".join((image, *others))
    return f"{said} the size of {image!r}: write fields: [{every}], or fields: [{image}] to leave {left}"


def build_transform(spec: Any, arrays: int) -> Transform | OwnTransform:
    """The transform of `spec`, which has `name` and `args`, for `arrays` fields. Raises ConfigError, relative to the spec."""
    if "." in spec.name:
        return OwnTransform(spec.name, spec.args, arrays)
    kind = resolve(spec.name, TRANSFORMS, "transform")
    try:
        return kind.model_validate(spec.args)
    except ValidationError as error:
        raise ConfigError(Problem(("args", *path), message) for path, message in in_our_words(error, kind)) from error
