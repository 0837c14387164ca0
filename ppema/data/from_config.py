"""Builds the data set and the loader of a config's data section."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ppema.data.collate import build_collate
from ppema.data.dataset import Dataset, check_dataset
from ppema.data.fields import FieldNames
from ppema.data.layout import STACKED, Layout, Padding
from ppema.data.loader import Loader
from ppema.data.sets.csv_table import csv
from ppema.data.sets.digits import digits
from ppema.data.sets.files import MissingError
from ppema.data.sets.idx import idx
from ppema.data.sets.image_folder import ImageFolderDataset
from ppema.data.sets.npz import npz
from ppema.data.sets.synthetic import synthetic
from ppema.errors import ConfigError, DataError, PpemaError
from ppema.user_code.blame import blamed
from ppema.user_code.modules import folders_looked_in, looking_in
from ppema.user_code.names import check_arguments, resolve

# Built-in data sets by name. Each function opens the data set that a section of that name describes.
SOURCES: Mapping[str, Callable[[Any], Dataset]] = {
    "digits": lambda spec: digits(spec.split),
    "idx": lambda spec: idx(spec.images, spec.labels),
    "image_folder": lambda spec: ImageFolderDataset(spec.path, spec.size, spec.channels),
    "npz": lambda spec: npz(spec.path, spec.inputs, spec.targets),
    "csv": lambda spec: csv(spec.path, spec.target, spec.header, spec.delimiter, spec.target_dtype),
    "synthetic": lambda spec: synthetic(spec.samples, spec.shape, spec.classes, spec.noise, spec.seed, spec.split),
}


def build_dataset(spec: Any, label: str = "data") -> Dataset:
    """Build the data set of `spec`, a data section. `spec.name` is a key of SOURCES or the dotted path of a callable.

    The callable receives `spec.args` as keywords and returns a map-style data set, such as a paddle.io.Dataset.

    Raises ConfigError, with paths relative to the section, for an unknown name, for wrong arguments, and for a missing file
    that a key names. Raises DataError for an unusable file, for a callable that raises (`label: name: type: text`), and for a
    result that is empty or not map-style.
    """
    source = resolve(spec.name, SOURCES, "data set")
    if spec.name not in SOURCES:
        check_arguments(source, spec.args, what=spec.name)
    try:
        dataset = source(spec) if spec.name in SOURCES else source(**spec.args)
    except MissingError as error:
        key = _key_of(spec, error.path)
        if key is None:
            raise
        raise ConfigError.of(error.at_key(), *key) from error
    except PpemaError:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, FileNotFoundError) and (key := _key_of(spec, error.filename)):
            raise ConfigError.of(blamed(error), *key) from error
        raise DataError(f"{label}: {spec.name}: {blamed(error)}") from error
    check_dataset(dataset, f"{label}: {spec.name}")
    return dataset


def _key_of(spec: Any, path: Any) -> tuple[str, ...] | None:
    """The key of the section `spec` whose value is `path` or a folder above it; None if there is no such key."""
    if not isinstance(path, str):
        return None
    own = {(key,): value for key, value in vars(spec).items()}
    values = own | {("args", key): value for key, value in getattr(spec, "args", {}).items()}
    for key, value in values.items():
        named = isinstance(value, str) and key != ("name",) and value
        if named and os.path.commonpath([os.path.abspath(value), os.path.abspath(path)]) == os.path.abspath(value):
            return key
    return None


def build_layout(data: Any) -> Layout:
    """The Layout of `data`, the config section with inputs, targets, shapes and collate.

    Raises ConfigError, with paths relative to the section.
    """
    names = FieldNames(data.inputs, data.targets) if data.inputs and data.targets else None
    if data.collate is None:
        return Layout(names, data.shapes)
    try:
        collate = build_collate(data.collate)
    except ConfigError as error:
        raise ConfigError(replace(each, path=("collate", *each.path)) for each in error.problems) from error
    if isinstance(collate, Padding):
        return Layout(names, data.shapes, padding=collate)
    return Layout(names, data.shapes, collate=collate)


def build_loader(spec: Any, *, seed: int, label: str, layout: Layout = STACKED, finite: bool = False) -> Loader:
    """Build the Loader of `spec`, a data section with batch_size, shuffle, drop_last, workers and transforms.

    seed: of order and samples; label: the name of the data in messages; finite: as for Loader. Raises as
    `build_dataset` and Loader do.
    """
    return Loader(
        build_dataset(spec, label),
        batch_size=spec.batch_size,
        shuffle=spec.shuffle,
        drop_last=spec.drop_last,
        workers=spec.workers,
        seed=seed,
        label=label,
        layout=layout,
        transforms=spec.transforms,
        open_dataset=functools.partial(_build_in, folders_looked_in(), spec, label),
        finite=finite,
    )


def _build_in(folders: tuple[str, ...], spec: Any, label: str) -> Dataset:
    """`build_dataset` in another process. `folders`: where the calling process looks for the user's modules."""
    with looking_in(folders):
        return build_dataset(spec, label)
