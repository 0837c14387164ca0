"""What turns a picture file into a model's input, as the run of the model prepared its own pictures."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field, PrivateAttr, ValidationError

from ppema.config import Config
from ppema.config.section import Count, Section, Text
from ppema.config.sections.data_sets import Channels, DataSection, Idx, ImageFolder, Size
from ppema.config.sections.data_sets import Digits as DigitsSection
from ppema.config.sections.transform_spec import TransformSpec
from ppema.config.wording import expecting, in_our_words
from ppema.data.fields import Field as SampleField
from ppema.data.pictures.decoding import decoded
from ppema.data.transforms.pipeline import Pipeline
from ppema.data.transforms.placed_transform import Origin
from ppema.data.transforms.table import build_pipeline, build_transform
from ppema.errors import ConfigError, DataError, escaped
from ppema.user_code.modules import folders_looked_in, looking_in

_INSTEAD = {
    "npz": "give an .npz file with the same arrays",
    "csv": "give a CSV file with the same columns",
    "synthetic": "its samples are random points: give an .npz file",
}
_OWN = "give the dotted path of a data set"
_PICTURES = (ImageFolder, Idx, DigitsSection)


def _evaluated(config: Config) -> tuple[str, Any]:
    """The part of `data` whose samples a run evaluates, and its section."""
    part = "eval" if isinstance(config.data.eval, DataSection) else "train"
    return part, getattr(config.data, part)


def has_pictures(config: Config) -> bool:
    """Whether a run evaluates pictures, so that its model may take picture files."""
    return isinstance(_evaluated(config)[1], _PICTURES)


def _of_bytes(scale: float) -> float:
    if scale != 1 / 255:
        raise ValueError
    return scale


class Preprocessing(Section):
    """The preparation of one picture, as plain values. `data.normalize` is a part of the programs, and not of this.

    channels: 1 converts to grey, 3 to RGB. size: [H, W], to which pictures are resized; null: they keep their own. filter,
    antialias: of this resizing, as in Pillow. scale: the factor of the pixels, 0..255. layout: of the axes, before the
    transforms. transforms: those of evaluations, in order. None of them draws. input: the name of the model's input. shape: of
    one sample of it, after the transforms.
    """

    channels: Channels
    size: Size | None
    filter: Literal["bilinear"] = "bilinear"
    antialias: Literal[True] = True
    scale: Annotated[float, AfterValidator(_of_bytes), expecting("1 / 255")] = 1 / 255
    layout: Literal["CHW"] = "CHW"
    transforms: tuple[TransformSpec, ...] = ()
    input: Text
    shape: Annotated[tuple[Count, ...], Field(min_length=1)]

    _folders: tuple[str, ...] = PrivateAttr(default_factory=folders_looked_in)

    @classmethod
    def of(cls, config: Config, fields: Sequence[SampleField]) -> Preprocessing:
        """The preparation of the pictures that a run evaluates: by `data.eval`, or by `data.train` with `data.split`.

        fields: of a sample after its transforms. Raises ConfigError for data that is not pictures, and for transforms that
        draw or change a target.
        """
        part, spec = _evaluated(config)
        with config.at("data", part):
            if not isinstance(spec, _PICTURES):
                raise ConfigError.of(f"{spec.name} has no picture files: {_INSTEAD.get(spec.name, _OWN)}", "name")
        if config.data.collate is not None:
            with config.at("data"):
                raise ConfigError.of(f"batches of picture files are stacked: {_OWN}, or set it to null", "collate")
        (field,) = (each for each in fields if not each.is_target)
        transforms = config.data.eval.transforms if config.data.eval is not None else ()
        with config.at("data", "eval"):
            _check(transforms, field)
        size, shape = (spec.size, field.shape) if isinstance(spec, ImageFolder) else (None, field.shape)
        if -1 in shape:  # by data.shapes, and then there are no transforms
            if size is None:
                with config.at("data"):
                    raise ConfigError.of(f"without -1, it would tell the size of picture files: {_OWN}", "shapes", field.name)
            shape = (field.shape[0], *size)
        with config.at("data", part):
            return cls(
                channels=spec.channels if isinstance(spec, ImageFolder) else 1,
                size=size,
                transforms=tuple(each.replace(fields=None) for each in transforms),
                input=field.name,
                shape=shape,
            )

    def as_json(self) -> dict[str, Any]:
        """All of it as values of JSON."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Preprocessing:
        """What `as_json` gave. Raises ValueError, one line, for anything else."""
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            path, message = in_our_words(error, cls)[0]
            raise ValueError(": ".join([".".join(map(str, path)), message])) from error

    def read(self, path: str | os.PathLike[str]) -> np.ndarray:
        """The model's input of one picture file, float32 of `shape`. Raises DataError, one line that names the file."""
        reader = PictureReader(self)
        pixels = reader.decoded(path)
        try:
            return reader.transformed(pixels[None])[0]
        except DataError as error:
            raise DataError(f"{escaped(os.fspath(path))}: {error}") from error


class PictureReader:
    """Reads pictures for a model as `preprocessing` says."""

    def __init__(self, preprocessing: Preprocessing):
        self._made = preprocessing
        self._pipelines: dict[tuple[int, ...], Pipeline] = {}

    def decoded(self, path: str | os.PathLike[str]) -> np.ndarray:
        """The picture before the transforms, [C, H, W] float32. May be called in any thread. Raises as `decoding.decoded`."""
        return decoded(path, self._made.size, self._made.channels, self._other_size)

    def transformed(self, pictures: np.ndarray) -> np.ndarray:
        """Pictures [n, C, H, W] after the transforms, [n, *shape]. It may write into `pictures`.

        Each is the same in any batch. Raises DataError, which does not name the file.
        """
        if self._made.transforms:
            origin = Origin(0, 0, np.zeros(len(pictures), np.int64))
            try:
                (pictures,) = self._pipeline(pictures).apply((pictures,), origin)
            except DataError as error:
                raise DataError(str(error).removeprefix("sample 0: ")) from error
        expected = SampleField(self._made.shape, "float32", self._made.input)
        if not expected.holds(pictures.shape[1:]) or pictures.dtype != np.float32:
            raise DataError(
                f"{pictures.dtype.name} {list(pictures.shape[1:])} after the transforms; the model takes {expected}"
            )
        return pictures

    def _other_size(self, size: tuple[int, int]) -> str | None:
        made = self._made
        if made.size is not None or made.transforms or size == made.shape[1:]:
            return None
        ours, theirs = (f"{height} x {width}" for height, width in (size, made.shape[1:]))
        return f"its height x width is {ours}; the model takes {theirs}, and its run resized nothing"

    def _pipeline(self, pictures: np.ndarray) -> Pipeline:
        shape = pictures.shape[1:]
        if shape not in self._pipelines:
            if len(self._pipelines) >= 100:  # pictures of many sizes
                self._pipelines.clear()
            field = SampleField(shape, "float32", self._made.input)
            try:
                with looking_in(self._made._folders):
                    self._pipelines[shape] = build_pipeline(self._made.transforms, (field,), (pictures[:1],))
            except ConfigError as error:
                raise DataError(f"transforms.{error.problems[0].path[1]}: {error.problems[0].message}") from error
        return self._pipelines[shape]


def _check(transforms: Sequence[TransformSpec], field: SampleField) -> None:
    """Raises ConfigError at ("transforms", ...) for those that predictions of single pictures can not have."""
    for place, spec in enumerate(transforms):
        if spec.fields not in (None, (field.name,)):
            raise ConfigError.of(f"it changes targets, which picture files lack: {_OWN}", "transforms", place, "fields")
        try:
            draws = build_transform(spec, 1).random
        except ConfigError as error:
            raise ConfigError.of(error.problems[0].message, "transforms", place, *error.problems[0].path) from error
        if draws:
            raise ConfigError.of(f"{spec.name} is random, and so would be the predictions: remove it", "transforms", place)
