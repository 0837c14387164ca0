"""Fills in `data.classes`, the names of the classes, and refuses data whose labels mean other classes.

The data set gives the names when a run begins. From then on they are kept in the resolved config: in config.yml and in every
checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from ppema.config import Config
from ppema.data import Loader
from ppema.data.class_names import difference
from ppema.errors import ConfigError

_MEANING = "a label would mean another class"


def check_same_classes(config: Config, trained: Loader, evaluated: Loader) -> None:
    """Raises ConfigError if both data sets know the names of their classes, and these differ."""
    if trained.classes is None or evaluated.classes is None:
        return
    if differing := difference(evaluated.classes, trained.classes):
        with config.at("data", "eval"):
            raise ConfigError.of(f"its classes are not those of data.train: {differing}: {_MEANING}")


def with_classes(config: Config, loader: Loader, part: Literal["train", "eval"], count: int | None) -> Config:
    """`config` with the names of the classes in `data.classes`, if it has none and the data set of `loader` knows them.

    part: the section of that data set; count: the number of the model's classes, None if unknown. Names of another number are
    none of the model's classes. Raises ConfigError if the data set's names are not those of the config, and, of a data set
    without names, for names of another number.
    """
    given, found = config.data.classes, loader.classes
    if found is not None and count in (None, len(found)):
        if given is None:
            # YAML and JSON hold text. A folder's name may be anything.
            return config.replace(data=config.data.replace(classes=found)) if all(map(str.isprintable, found)) else config
        if differing := difference(found, given):
            with config.at("data", part):
                raise ConfigError.of(f"its classes are not those of the run (data.classes): {differing}: {_MEANING}")
    elif given is not None and count not in (None, len(given)):
        with config.at("data"):
            raise ConfigError.of(f"expected {count} names, one for each class of the model, got {len(given)}", "classes")
    return config


def classes_kept(config: Config, before: Mapping[str, Any]) -> Config:
    """`config` with `data.classes` of the resolved config `before`, if it has none of its own."""
    data = before.get("data")
    names = data.get("classes") if isinstance(data, Mapping) else None
    if config.data.classes is not None or not names:
        return config
    return config.replace(data=config.data.replace(classes=names))
