"""Takes the statistics of each sample while an evaluation runs."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import paddle

from ppema.config import Config
from ppema.data import Batch, Field
from ppema.errors import Naming, PpemaError
from ppema.evaluation.samples.kept_samples import KeptSamples, MeasureSamples
from ppema.evaluation.samples.sample_counts import SampleCounts
from ppema.ir import Variable, backend
from ppema.metrics import BatchMean, Counts, Figure, Gauge, build_metrics, place
from ppema.programs.eval_program import TestProgram, is_loss
from ppema.programs.executor import Executor
from ppema.user_code.blame import building


class SampleRecorder:
    """The statistics of each sample of one evaluation, in memory.

    Values of samples are those of the evaluation's own batches. Counts of a sample are those of a batch that has this sample
    alone, from the same predictions and targets: a program of their own computes them.
    """

    def __init__(self, config: Config, test: TestProgram, fields: Sequence[Field], samples: int, most: int):
        """test: with operands; fields, samples: of the evaluation data; most: bytes. Raises ConfigError."""
        self._test = test
        self._targets = [position for position, field in enumerate(fields) if field.is_target]
        self._total, self._most = samples, most
        self._indices: list[np.ndarray] = []
        self._digests: list[bytes] = []
        self._kept: dict[str, dict[str, list[np.ndarray]]] = {name: {} for name in test.measures}
        self._counts: dict[str, dict[str, list[SampleCounts]]] = {name: {} for name in test.measures}
        self._without = {
            name: f"{name} is one number for a batch: a loss that returns one value per sample, of shape [N], has an interval"
            for name, measure in test.measures.items()
            if any(isinstance(each, BatchMean) for each in measure.statistics.values())
        }
        self._alone = _CountsOfOne(config, test.operands) if test.operands else None
        self._specs = _specs(config)

    def add(self, batch: Batch, values: Sequence[np.ndarray]) -> None:
        """Take a batch. values: of the test program's `fetched`.

        Raises PpemaError if all batches would take too much memory, and TrainingError if a metric fails on a sample alone.
        """
        left, size = iter(values), len(batch.indices)
        statistics = {name: [next(left) for _ in each.statistics] for name, each in self._test.measures.items()}
        operands = {name: {part: next(left) for part in each} for name, each in self._test.operands.items()}
        first = sum(map(len, self._indices))
        for name, found in statistics.items():
            for (key, statistic), value in zip(self._test.measures[name].statistics.items(), found, strict=True):
                if name not in self._without and not isinstance(statistic, Counts):
                    self._kept[name].setdefault(key, []).append(np.array(value))
        if self._alone is not None:
            self._add_counts(first, self._alone.counts(operands, size), statistics)
        self._indices.append(batch.indices)
        self._digests += self._digests_of(batch)
        if first == 0:
            self._check_size(size)

    def samples(self, weights: str, step: int | None, figures: Mapping[str, Figure]) -> KeptSamples:
        """What was taken, in the order of the data set. figures: of the evaluation; arrays among them are left out."""
        order = np.argsort(np.concatenate(self._indices), kind="stable")
        digest = hashlib.blake2b(digest_size=16)
        for position in order:
            digest.update(self._digests[position])
        measures = {name: self._measure(name, order, figures) for name in self._test.measures}
        return KeptSamples(weights, step, len(order), digest.hexdigest(), measures)

    def _add_counts(
        self, first: int, alone: Mapping[str, Mapping[str, np.ndarray]], together: Mapping[str, Sequence[np.ndarray]]
    ) -> None:
        """alone: the counts of each sample of a batch, by metric; together: the statistics of the batch."""
        for name, counted in alone.items():
            whole = dict(zip(self._test.measures[name].statistics, together[name], strict=True))
            for key, each in counted.items():
                if (each.sum(axis=0) != whole[key]).any():
                    self._without[name] = f"the counts of {name} in a batch are not the sum of those of its samples"
                self._counts[name].setdefault(key, []).append(SampleCounts.of(each, first))

    def _measure(self, name: str, order: np.ndarray, figures: Mapping[str, Figure]) -> MeasureSamples:
        own = {
            figure: value
            for figure, value in figures.items()
            if not isinstance(value, list) and (figure == name or (figure.startswith(f"{name}.") and not is_loss(name)))
        }
        spec, without = self._specs[name], self._without.get(name, "")
        if without or not own:
            return MeasureSamples(spec, own, {}, {}, without or f"{name} is an array")
        kept = {key: np.concatenate(rows)[order] for key, rows in self._kept[name].items()}
        places = np.empty(len(order), np.int32)
        places[order] = np.arange(len(order))
        counts = {key: _joined(parts, places) for key, parts in self._counts[name].items()}
        return MeasureSamples(spec, own, kept, counts)

    def _digests_of(self, batch: Batch) -> list[bytes]:
        """A digest of the targets of each sample. Padding of targets of varying shape counts too."""
        targets = [np.ascontiguousarray(batch.arrays[position]) for position in self._targets]
        return [
            hashlib.blake2b(b"".join(each[row].tobytes() for each in targets), digest_size=16).digest()
            for row in range(len(batch.indices))
        ]

    def _check_size(self, size: int) -> None:
        """Raises PpemaError if all samples would take more than the limit, by those of the first batch, of `size` samples."""
        arrays = [rows for each in self._kept.values() for parts in each.values() for rows in parts]
        arrays += [
            array for each in self._counts.values() for parts in each.values() for found in parts for array in found.arrays
        ]
        needed = sum(each.nbytes for each in arrays) / size * self._total
        if needed > self._most:
            largest = max(self._kept, key=lambda name: sum(each.nbytes for rows in self._kept[name].values() for each in rows))
            raise PpemaError(
                Naming(
                    f"the samples of one set of weights would take {needed / 2**30:.3g} GiB, most of them for {largest}; the "
                    f"limit is {self._most / 2**30:.3g} GiB: give {{samples_limit}} {math.ceil(needed / 2**30)}, or leave "
                    f"{largest} out"
                )
            )


class _CountsOfOne:
    """A program of the metrics with Counts, which reads their operands for one sample at a time."""

    def __init__(self, config: Config, operands: Mapping[str, Mapping[str, Variable]]):
        startup, self._main = paddle.static.Program(), paddle.static.Program()
        self._feeds: dict[str, dict[str, str]] = {}
        gauges: dict[str, Gauge] = {}
        with backend().fresh_names(), paddle.static.program_guard(self._main, startup), config.at("metrics"):
            for index, (name, metric) in enumerate(build_metrics(config.metrics).items()):
                if name in operands:
                    with building(index):
                        gauges[name] = place(name, metric, *self._operands(name, operands[name]))
        self._counted = {
            name: {key: each.value for key, each in gauge.statistics.items() if isinstance(each, Counts)}
            for name, gauge in gauges.items()
        }
        self._fetch = [value for each in self._counted.values() for value in each.values()]
        self._scope = paddle.static.Scope()
        self._executor = Executor(paddle.CPUPlace(), self._scope)
        with paddle.static.scope_guard(self._scope):
            self._executor.once(startup, {})

    def _operands(self, name: str, parts: Mapping[str, Variable]) -> list[Any]:
        made, found = {}, []
        for part, variable in parts.items():
            feed = f"{name}:{part}"
            made[part] = paddle.static.data(feed, [-1, *variable.shape[1:]], variable.dtype)
            self._feeds.setdefault(name, {})[part] = feed
        for operand in ("predictions", "targets"):
            several = {part.partition(".")[2]: each for part, each in made.items() if part.startswith(f"{operand}.")}
            found.append(made.get(operand, several))
        return found

    def counts(self, operands: Mapping[str, Mapping[str, np.ndarray]], size: int) -> dict[str, dict[str, np.ndarray]]:
        """The Counts of each of `size` samples: [size, …] by metric and statistic. Raises TrainingError."""
        feeds = {feed: operands[name][part] for name, parts in self._feeds.items() for part, feed in parts.items()}
        with paddle.static.scope_guard(self._scope):
            runs = [
                [np.array(each) for each in self._executor.run(self._main, _row(feeds, row), self._fetch)]
                for row in range(size)
            ]
        stacked = map(np.stack, zip(*runs, strict=True))
        return {name: {key: next(stacked) for key in each} for name, each in self._counted.items()}


def _row(feeds: Mapping[str, np.ndarray], row: int) -> dict[str, np.ndarray]:
    return {name: array[row : row + 1] for name, array in feeds.items()}


def _joined(parts: Sequence[SampleCounts], places: np.ndarray) -> SampleCounts:
    """One of all `parts`. places: the number that each sample gets."""
    sample, place, count = (np.concatenate([getattr(each, key) for each in parts]) for key in ("sample", "place", "count"))
    sample = places[sample]
    order = np.argsort(sample, kind="stable")
    return SampleCounts(sample[order], place[order], count[order], parts[0].shape)


def _specs(config: Config) -> dict[str, Any]:
    """The section of each measure, as values of JSON. Two runs with equal ones measure the same."""
    parts = {name: spec.model_dump(mode="json") for name, spec in config.loss_parts.items()}
    metrics = {each.figure: each.model_dump(mode="json") for each in config.metrics}
    return {"loss": parts, **{f"loss.{name}": each for name, each in parts.items() if name}, **metrics}
