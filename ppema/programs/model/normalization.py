"""Normalises inputs in programs: (x - mean) / std, by the numbers of `data.normalize`.

Every program of a run has the same numbers as constants, so they go with it into evaluation, prediction and export. They are
measured once, over the training samples, and from then on kept in the resolved config: in config.yml and in every checkpoint.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import paddle

from ppema.checkpoint.checkpoint import Checkpoint
from ppema.checkpoint.paths import checkpoints_of
from ppema.config import Config
from ppema.config.sections.normalize import Normalization, numbers_of
from ppema.data import Field, Loader
from ppema.data.class_names import difference
from ppema.data.fields import numeric_inputs
from ppema.data.normalizing import Spread, broadcast, channel_count, normalisable, rows_at_a_time, spreads
from ppema.errors import CheckpointError, ConfigError, listed
from ppema.ir import Variable
from ppema.programs.model.known_classes import classes_kept


def normalised(config: Config, fields: Sequence[Field], inputs: Mapping[str, Variable]) -> dict[str, Variable]:
    """Append the normalisation of `inputs`, [N, ...] by name, to the default main program.

    `data.normalize` of `config` must be measured. Raises ConfigError for numbers that do not fit the inputs.
    """
    numbers = config.data.normalize
    assert not is_unmeasured(config), "data.normalize is measured before programs are built"
    if not isinstance(numbers, dict):
        return dict(inputs)
    found = dict(inputs)
    with config.at("data", "normalize"):
        for field in numeric_inputs(fields, tuple(numbers), "normalised"):
            given = numbers[field.name]
            if len(given.mean) not in (1, channel_count(field)):
                expected = f"{channel_count(field)} numbers" if channel_count(field) > 1 else "one number"
                raise ConfigError.of(f"expected {expected} for {field}, got {len(given.mean)}", field.name, "mean")
            mean, std = (paddle.assign(broadcast(each, field)) for each in (given.mean, given.std))
            found[field.name] = (found[field.name] - mean) / std
    return found


def is_unmeasured(config: Config) -> bool:
    """Whether `data.normalize` names inputs without their numbers."""
    return config.data.normalize is not False and not isinstance(config.data.normalize, dict)


def measured(config: Config, trained: Loader) -> Config:
    """`config` with the numbers of `data.normalize`, measured over the samples of `trained`; unchanged if it has them.

    The samples are measured with the transforms of evaluations, which do not augment.
    Warns about constant channels, whose deviation is 1. Raises ConfigError for an unknown input, and for one that is not
    float32 or of varying shape. Raises DataError for a value that is not finite.
    """
    if not is_unmeasured(config):
        return config
    with config.at("data", "normalize"):
        names = config.data.normalize
        fields = (
            numeric_inputs(trained.fields, names, "normalised") if isinstance(names, tuple) else normalisable(trained.fields)
        )
        if not fields:
            raise ConfigError.of("there is no float32 input to normalise")
        for field in fields:
            if -1 in field.shape:
                raise ConfigError.of(
                    f"the shape of {field.name} differs between batches, and padding would count: give its mean and std, or a "
                    "list of other inputs"
                )
    found = _spreads(config, trained, fields)
    for name, spread in found.items():
        if spread.constant.any():
            where = listed([str(channel) for channel in np.flatnonzero(spread.constant)])
            warnings.warn(f"data.normalize: {name} is constant in channel {where}: its deviation counts as 1", stacklevel=2)
    return _with(config, {name: spread.numbers for name, spread in found.items()})


def kept(config: Config, before: Mapping[str, Any]) -> Config:
    """`config` with what the run of the resolved config `before` keeps: its numbers and its names of classes.

    Its own are not replaced. Numbers are taken for the same inputs only; otherwise they are to be measured.
    """
    return classes_kept(_numbers_kept(config, before), before)


def as_trained(config: Config, before: Mapping[str, Any], source: object) -> Config:
    """`kept`, for weights in `source` of the run with the resolved config `before`.

    Raises ConfigError if `config` has other numbers or names of classes: its inputs or labels would mean something else.
    """
    made, data = kept(config, before), before.get("data")
    given = data if isinstance(data, Mapping) else {}
    if "normalize" in given and (made.data.normalize or None) != (theirs := numbers_of(given["normalize"])):
        with config.at("data"):
            give = "true, for theirs" if theirs else "false, as in training"
            raise ConfigError.of(f"not that of the weights in {source}: give {give}", "normalize")
    names = given.get("classes")
    if names and made.data.classes is not None and (differing := difference(made.data.classes, names)):
        with config.at("data"):
            raise ConfigError.of(f"not those of the weights in {source}: {differing}", "classes")
    return made


def _numbers_kept(config: Config, before: Mapping[str, Any]) -> Config:
    data = before.get("data")
    numbers = data.get("normalize") if isinstance(data, Mapping) else None
    if not is_unmeasured(config) or not isinstance(numbers, Mapping):
        return config
    names = config.data.normalize
    if isinstance(names, tuple) and set(names) != set(numbers):
        return config
    return _with(config, numbers)


def kept_by_run(config: Config, checkpoint: str = "auto") -> Config:
    """`config` with what a checkpoint of its run keeps, as `kept`; unchanged without a checkpoint.

    checkpoint: "auto" for the newest intact one, "last", "best" or a path. A faulty one is reported when it is loaded.
    """
    store = checkpoints_of(config)
    try:
        found = store.newest_intact(Checkpoint.open)[0] if checkpoint == "auto" else store.find(checkpoint, Checkpoint.open)
    except CheckpointError:
        return config
    return config if found is None else kept(config, found.manifest.config)


def changes(config: Config, trained: Loader) -> Iterator[str]:
    """A line for each input whose numbers in `config` are not those of the samples of `trained`, which are in memory.

    Samples that are not in memory are not read again for this.
    """
    numbers = config.data.normalize
    if not isinstance(numbers, dict) or trained.known is None:
        return
    for name, spread in _spreads(config, trained, numeric_inputs(trained.fields, tuple(numbers), "normalised")).items():
        now = spread.numbers
        if (numbers[name].mean, numbers[name].std) != (now.mean, now.std):
            changed = "the training samples or the transforms of data.eval have changed"
            yield f"warning: {changed}: data.normalize goes on with the numbers of {name} from before"


def _spreads(config: Config, trained: Loader, fields: Sequence[Field]) -> Mapping[str, Spread]:
    indices = np.setdiff1d(np.arange(len(trained.dataset)), trained.others)
    rows, transforms = rows_at_a_time(fields), config.data.eval.transforms if config.data.eval is not None else ()
    with config.at("data", "eval"):  # for transforms that do not fit the training samples
        loader = trained.part(indices, batch_size=rows, workers=trained.workers, transforms=transforms)
    with closing(loader):
        return spreads(loader, fields)


def _with(config: Config, numbers: Mapping[str, Any]) -> Config:
    made = {name: Normalization.model_validate(_plain(each)) for name, each in numbers.items()}
    return config.replace(data=config.data.replace(normalize=made))


def _plain(numbers: Any) -> Mapping[str, Any]:
    return numbers if isinstance(numbers, Mapping) else {"mean": numbers.mean, "std": numbers.std}
