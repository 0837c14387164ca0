"""Opens what a user gives to a model: paths of files, the words of the config's own data, data sets, or arrays."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from ppema.config import Config
from ppema.config.sections.data_sets import Csv, DottedData, Npz
from ppema.config.sections.transform_spec import TransformSpec
from ppema.data import Dataset, Field, Loader, build_dataset, build_layout
from ppema.data.dataset import check_dataset
from ppema.data.given.array_inputs import ArrayInputs
from ppema.data.given.csv_inputs import CsvForm, CsvInputs
from ppema.data.given.loader_inputs import LoaderInputs, Stripped, without_targets
from ppema.data.given.npz_inputs import NpzInputs
from ppema.data.given.preparation import OnError, Preparation, of_inputs, refuse_random
from ppema.data.inputs import BatchTurns, InputBatch, InputSource
from ppema.data.pictures.decoding import SUFFIXES
from ppema.data.pictures.picture_source import PictureSource
from ppema.data.pictures.preprocessing import Preprocessing, has_pictures
from ppema.data.sets.files import MissingError
from ppema.errors import ConfigError, DataError, PpemaError
from ppema.programs.loaders import eval_loader, train_loader

_OWN = ("data.eval", "data.train")
_ARCHIVES, _TABLES = (".npz",), (".csv", ".csv.gz")
# Suffixes of files, which are no attributes of a module.
_FILES = (".npy", ".txt", ".json", ".jsonl", ".zip", ".gz", ".parquet")


@dataclass(frozen=True)
class Chained:
    """Several sources, one after another."""

    sources: Sequence[InputSource]

    @property
    def total(self) -> int | None:
        """The sum of the numbers of samples; None if one is not known."""
        totals = [each.total for each in self.sources]
        return None if None in totals else sum(total for total in totals if total is not None)

    def batches(self, batch_size: int, turns: BatchTurns) -> Iterator[InputBatch]:
        """See `InputSource`. A batch has samples of one source."""
        for source in self.sources:
            yield from source.batches(batch_size, turns)


@dataclass(frozen=True)
class Opener:
    """Opens inputs for the model of `config`.

    fields: of a sample, targets too if they are known. batch_size: of the batches. on_error: see `Preparation`.
    """

    config: Config
    fields: tuple[Field, ...]
    batch_size: int
    on_error: OnError

    def open(self, inputs: Any) -> InputSource:
        """The source of `inputs`.

        inputs: a path or several: *.npz, *.csv or *.csv.gz; pictures, and folders of pictures; "data.eval" or "data.train"; the
        dotted path of a data set. Or a map-style data set; one array for a model with one input; or arrays by name of input.

        Raises PpemaError for anything else, DataError for an unusable file, and ConfigError for a data set that can not be
        opened or transforms that do not fit.
        """
        if isinstance(inputs, str | os.PathLike):
            inputs = [inputs]
        if isinstance(inputs, Sequence) and inputs and all(isinstance(each, str | os.PathLike) for each in inputs):
            return Chained([self._group(*each) for each in groupby(map(os.fspath, inputs), self._is_picture)])
        if isinstance(inputs, np.ndarray | Mapping):
            return ArrayInputs(inputs, self._how)
        if hasattr(type(inputs), "__getitem__") and hasattr(type(inputs), "__len__") and not isinstance(inputs, list | tuple):
            return self._unlabelled(inputs, "inputs")
        kind = "an empty list" if inputs in ([], ()) else type(inputs).__name__
        raise PpemaError(f"inputs: expected paths, an array, arrays by name, or a data set; got {kind}")

    def _is_picture(self, name: str) -> bool:
        """Whether a path is that of a picture or a folder. A file for a model of pictures may have any other suffix."""
        lower, path = name.lower(), os.path.expanduser(name)
        if lower.endswith(SUFFIXES) or os.path.isdir(path):
            return True
        return not lower.endswith((*_ARCHIVES, *_TABLES)) and os.path.exists(path) and has_pictures(self.config)

    def _group(self, pictures: bool, names: Iterable[str]) -> InputSource:
        if not pictures:
            return Chained([self._named(name) for name in names])
        return PictureSource(list(names), Preprocessing.of(self.config, self.fields), self.on_error)

    def _named(self, name: str) -> InputSource:
        lower, there = name.lower(), os.path.exists(os.path.expanduser(name))
        if name in _OWN and not there:
            return self._own(name)
        if lower.endswith(_ARCHIVES):
            spec = self._spec(Npz)
            return NpzInputs(name, self._how, () if spec is None else spec.inputs)
        if lower.endswith(_TABLES):
            return CsvInputs(name, self._how, self._csv_form())
        if there:
            raise DataError(f"{name}: expected *.npz or *.csv, as the model takes no picture files")
        if "." not in name or lower.endswith(_FILES) or not all(part.isidentifier() for part in name.split(".")):
            raise MissingError(name, "no such file or folder")
        return self._dotted(name)

    @property
    def _how(self) -> Preparation:
        place = functools.partial(self.config.at, "data", "eval")
        return Preparation(self._inputs, self._transforms, self.config.seed, self.on_error, place)

    @property
    def _inputs(self) -> tuple[Field, ...]:
        return tuple(field for field in self.fields if not field.is_target)

    @property
    def _transforms(self) -> Sequence[TransformSpec]:
        return () if self.config.data.eval is None else self.config.data.eval.transforms

    def _spec(self, kind: type[Any]) -> Any:
        """The data section of `kind`: that of training, else that of evaluation; None if there is none."""
        data = self.config.data
        return next((spec for spec in (data.train, data.eval) if isinstance(spec, kind)), None)

    def _csv_form(self) -> CsvForm:
        spec = self._spec(Csv)
        if spec is None:
            return CsvForm()
        return CsvForm(spec.header, spec.delimiter, spec.target).with_columns_of(spec.path)

    def _own(self, name: str) -> InputSource:
        """The samples of the config's own data, with the transforms of evaluation, in their order."""
        data = self.config.data
        if data.eval is not None:
            data = data.replace(eval=data.eval.replace(batch_size=self.batch_size))
        train = {"shuffle": False, "drop_last": False, "transforms": self._transforms}
        kept = data.train.batch_size if data.eval is not None else self.batch_size
        config = self.config.replace(data=data.replace(train=data.train.replace(batch_size=kept)))
        evaluated = eval_loader(config)
        if name == "data.eval":
            return LoaderInputs(evaluated, self._how, self._transforms)
        evaluated.close()
        trained = data.train.replace(batch_size=self.batch_size, **train)
        return LoaderInputs(
            train_loader(config.replace(data=config.data.replace(train=trained)), evaluated), self._how, self._transforms
        )

    def _dotted(self, name: str) -> InputSource:
        spec = DottedData(name=name, batch_size=self.batch_size)
        with self.config.at("data"):
            try:
                dataset = build_dataset(spec, "inputs")
            except ConfigError as error:
                raise DataError(f"{name}: {error.problems[0].message}") from error
        return self._unlabelled(dataset, name)

    def _unlabelled(self, dataset: Dataset, label: str) -> InputSource:
        check_dataset(dataset, label)
        names = [field.name for field in self._inputs]
        targets = len(self.fields) - len(names) or len(self.config.data.targets or ("target",))
        own = Stripped(dataset, len(names), targets)
        with self.config.at("data"):
            layout = build_layout(self.config.data)
        layout = without_targets(layout, names, own)
        transforms = of_inputs(self._transforms, names)
        with self.config.at("data", "eval"):
            loader = Loader(
                dataset if layout.collate else own,
                batch_size=self.batch_size,
                seed=self.config.seed,
                label=label,
                layout=layout,
                transforms=transforms,
            )
        refuse_random(loader.random_transforms)
        return LoaderInputs(loader, self._how, transforms)
