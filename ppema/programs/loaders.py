"""Builds the loaders of a config's data."""

from __future__ import annotations

import warnings
from typing import Literal

from ppema.config import Config
from ppema.config.sections.data import KeptPart
from ppema.config.sections.data_sets import DataSection
from ppema.data import Field, LayoutError, Loader, build_layout, build_loader
from ppema.data.part import classes_of, split_samples
from ppema.errors import ConfigError


def train_loader(config: Config, evaluated: Loader) -> Loader:
    """The loader of `data.train`, or of its samples that `evaluated` does not read, with `data.split`.

    Raises DataError, and ConfigError if its fields differ from those of `evaluated`.
    """
    spec = config.data.train
    if config.data.split is None:
        loader = _loader(config, spec, "train")
    else:
        with config.at("data", "train"):
            loader = evaluated.part(
                evaluated.others,
                batch_size=spec.batch_size,
                shuffle=spec.shuffle,
                drop_last=spec.drop_last,
                workers=spec.workers,
                transforms=spec.transforms,
            )
    if loader.fields != evaluated.fields:
        with config.at("data", "split" if config.data.eval is None else "eval"):
            raise ConfigError.of(_difference(evaluated.fields, loader.fields, transformed=bool(spec.transforms)))
    return loader


def eval_loader(config: Config) -> Loader:
    """The loader of `data.eval`, or of the part of `data.train` that `data.split` keeps.

    A NaN or an infinity in it is refused: figures would be NaN, or wrong without a sign, such as an accuracy of NaN scores.
    Raises DataError, and ConfigError for `drop_last` and for an empty part.
    """
    spec = config.data.eval
    if not isinstance(spec, DataSection):
        loader = _kept_part(config, spec or KeptPart())
    else:
        with config.at("data", "eval"):
            if spec.drop_last:
                raise ConfigError.of("an evaluation covers every sample: remove it", "drop_last")
        loader = _loader(config, spec, "eval")
    if loader.random_transforms:
        warnings.warn(
            f"data.eval.transforms: {', '.join(loader.random_transforms)} is random: evaluations measure changed samples, with "
            "the same draws each time",
            stacklevel=2,
        )
    return loader


def _kept_part(config: Config, reading: KeptPart) -> Loader:
    split, spec = config.data.split, config.data.train
    assert split is not None, "a config without data.eval has data.split"
    # Data in memory needs workers for transforms only, which are those of the parts.
    workers = 0 if spec.transforms else spec.workers
    whole = _loader(config, spec.replace(shuffle=False, drop_last=False, transforms=(), workers=workers), "train")
    classes = classes_of(whole) if split.stratify else None
    whole.close()
    with config.at("data", "split"):
        parts = split_samples(whole.samples, classes, split)
    with config.at("data", "eval"):
        return whole.part(
            parts.kept,
            batch_size=reading.batch_size or spec.batch_size,
            workers=spec.workers if reading.workers is None else reading.workers,
            transforms=reading.transforms,
            finite=True,
        )


def _loader(config: Config, spec: DataSection, part: Literal["train", "eval"]) -> Loader:
    with config.at("data"):
        layout = build_layout(config.data)
    try:
        with config.at("data", part):
            return build_loader(spec, seed=config.seed, label=f"data.{part}", layout=layout, finite=part == "eval")
    except LayoutError as error:
        with config.at("data"):
            raise ConfigError.of(f"{error} (data.{part})", *error.path) from error


def _difference(evaluated: tuple[Field, ...], trained: tuple[Field, ...], *, transformed: bool) -> str:
    """The message for samples of evaluation that differ from those of training. transformed: whether these have transforms."""
    ours, theirs = (", ".join(map(str, fields)) for fields in (evaluated, trained))
    message = f"its samples are {ours}; those of data.train are {theirs}"
    converted = next(((one, two) for one, two in zip(evaluated, trained, strict=False) if one.dtype != two.dtype), None)
    if transformed and converted:
        one, two = converted
        message += (
            f"; {one.name} is {one.dtype} in evaluation and {two.dtype} in training: a transform that changes a dtype belongs "
            "into both lists"
        )
    elif transformed:
        message += "; transforms that change shapes belong into both lists"
    elif [(each.dtype, len(each.shape)) for each in evaluated] == [(each.dtype, len(each.shape)) for each in trained]:
        differing = next(one for one, two in zip(evaluated, trained, strict=True) if one != two)
        message += f"; data.shapes declares shapes that differ, as in {{{differing.name}: {[-1] * len(differing.shape)}}}"
    return message
