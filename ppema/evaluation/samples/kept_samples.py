"""The statistics of each sample of an evaluation, in one safetensors file for each set of weights.

runs/mine/samples/step-00000450/raw.safetensors     an array for each statistic, [samples, …] in the order of the data set;
                                ema.safetensors      three for Counts: sample, place and count of those that are not 0
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from ppema.checkpoint.durable import replace_file
from ppema.checkpoint.folder import step_folder, step_folders
from ppema.checkpoint.tensors import Image, arrays_in, metadata_in, read_bytes
from ppema.config import SAFETENSORS
from ppema.errors import CheckpointError, TrainingError, one_line
from ppema.evaluation.samples.sample_counts import SampleCounts

SAMPLES = "samples"
_FORMAT = "ppema samples 1"
_KEY = "samples"
_PARTS = ("sample", "place", "count")


@dataclass(frozen=True)
class MeasureSamples:
    """The statistics of each sample for one measure.

    spec: of the metric in the config, with name and args; of a loss its part, or all of them. figures: of the whole set, as the
    evaluation gave them. kept: [samples, …] by name; counts: by name. without: why there are none, else "".
    """

    spec: Any
    figures: Mapping[str, float]
    kept: Mapping[str, np.ndarray]
    counts: Mapping[str, SampleCounts]
    without: str = ""


@dataclass(frozen=True)
class KeptSamples:
    """The statistics of each sample of one evaluation.

    weights: "raw", an average's name, or a file's; step: of their run, None if unknown; samples: their number. fingerprint: of
    their targets: two evaluations with the same one are on the same samples.
    """

    weights: str
    step: int | None
    samples: int
    fingerprint: str
    measures: Mapping[str, MeasureSamples]

    def same_samples(self, other: KeptSamples) -> bool:
        """Whether both are of the same samples, in the same order."""
        return (self.samples, self.fingerprint) == (other.samples, other.fingerprint)


class _Measure(BaseModel):
    model_config = ConfigDict(frozen=True)
    spec: Any
    figures: dict[str, float | None]
    kept: dict[str, str]
    counts: dict[str, tuple[str, list[int]]]
    without: str


class _Header(BaseModel):
    model_config = ConfigDict(frozen=True)
    format: str
    weights: str
    step: NonNegativeInt
    samples: NonNegativeInt
    fingerprint: str
    measures: dict[str, _Measure]


def write_samples(output: Path, made: KeptSamples) -> tuple[Path, int]:
    """Write `made`, of a known step, to the run's folder `output`. Returns the file and its bytes. Raises TrainingError."""
    assert made.step is not None, "samples are kept of weights whose step is known"
    file = step_folder(output / SAMPLES, made.step) / f"{made.weights}{SAFETENSORS}"
    arrays, measures = dict[str, np.ndarray](), dict[str, _Measure]()
    for name, each in made.measures.items():
        kept = {key: _free(arrays, f"{name}.{key}") for key in each.kept}
        arrays |= {kept[key]: rows for key, rows in each.kept.items()}
        counts = dict[str, tuple[str, list[int]]]()
        for key, found in each.counts.items():
            counts[key] = (_free(arrays, f"{name}.{key}"), list(found.shape))
            arrays |= {f"{counts[key][0]}.{part}": getattr(found, part) for part in _PARTS}
        figures = {figure: value if np.isfinite(value) else None for figure, value in each.figures.items()}
        measures[name] = _Measure(spec=each.spec, figures=figures, kept=kept, counts=counts, without=each.without)
    header = _Header(
        format=_FORMAT,
        weights=made.weights,
        step=made.step,
        samples=made.samples,
        fingerprint=made.fingerprint,
        measures=measures,
    )
    image = Image.of(arrays, {_KEY: header.model_dump_json()})
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, image.header, image.data)
    except OSError as error:
        raise TrainingError(f"{file}: the samples could not be written: {error}") from error
    return file, len(image.header) + image.data.nbytes


def read_samples(file: Path) -> KeptSamples:
    """The content of `file`. Raises CheckpointError if it is missing, damaged, or no such file."""
    content = read_bytes(file)
    arrays = arrays_in(content, file)
    written = metadata_in(content).get(_KEY)
    if written is None:
        raise CheckpointError(f"{file}: it holds no samples of an evaluation")
    try:
        header = _Header.model_validate_json(written)
        measures = {name: _measure(each, arrays) for name, each in header.measures.items()}
    except (ValidationError, KeyError) as error:
        raise CheckpointError(f"{file}: damaged: its samples can not be read: {one_line(error)}") from error
    return KeptSamples(header.weights, header.step, header.samples, header.fingerprint, measures)


def kept_of(run: Path) -> dict[str, Path]:
    """The files of the newest step of which the run in the folder `run` keeps samples, by weights; empty without any."""
    for folder in reversed(step_folders(run / SAMPLES)):
        if files := sorted(folder.glob(f"*{SAFETENSORS}")):
            return {file.stem: file for file in files}
    return {}


def _measure(each: _Measure, arrays: Mapping[str, np.ndarray]) -> MeasureSamples:
    counts = {
        key: SampleCounts(**{part: arrays[f"{name}.{part}"] for part in _PARTS}, shape=tuple(shape))
        for key, (name, shape) in each.counts.items()
    }
    figures = {name: float("nan") if value is None else value for name, value in each.figures.items()}
    return MeasureSamples(each.spec, figures, {key: arrays[name] for key, name in each.kept.items()}, counts, each.without)


def _free(arrays: Mapping[str, np.ndarray], name: str) -> str:
    """A name for an array, or for the parts of Counts, that none of `arrays` has yet."""
    name = re.sub(r"[^\w.-]", "_", name)
    while any(each == name or each.startswith(f"{name}.") for each in arrays):
        name += "_"
    return name
