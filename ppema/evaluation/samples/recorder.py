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
from ppema.distributed.world import ALONE, World
from ppema.errors import Naming, PpemaError
from ppema.evaluation.samples.batch_samples import BatchSamples, packed, unpacked
from ppema.evaluation.samples.kept_samples import KeptSamples, MeasureSamples
from ppema.evaluation.samples.sample_counts import SampleCounts
from ppema.ir import Variable, backend
from ppema.metrics import BatchMean, Counts, Figure, Gauge, build_metrics, place
from ppema.programs.eval_program import TestProgram, is_loss
from ppema.programs.executor import Executor
from ppema.user_code.blame import building

_DIGEST = 16  # bytes


class SampleRecorder:
    """The statistics of each sample of one evaluation, in memory.

    Values of samples are those of the evaluation's own batches. Counts of a sample are those of a batch that has this sample
    alone, from the same predictions and targets: a program of their own computes them.
    """

    def __init__(
        self, config: Config, test: TestProgram, fields: Sequence[Field], samples: int, most: int, world: World = ALONE
    ):
        """test: with operands; fields, samples: of the evaluation data; most: bytes; world: whose ranks share the batches.

        Raises ConfigError.
        """
        self._test = test
        self._targets = [position for position, field in enumerate(fields) if field.is_target]
        self._total, self._most, self._world = samples, most, world
        self._batches: dict[int, BatchSamples] = {}
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
        kept = {
            (name, key): np.array(value)
            for name, found in statistics.items()
            for (key, statistic), value in zip(self._test.measures[name].statistics.items(), found, strict=True)
            if name not in self._without and not isinstance(statistic, Counts)
        }
        alone = {} if self._alone is None else self._alone.counts(operands, size)
        counts = {(name, key): SampleCounts.of(each) for name, counted in alone.items() for key, each in counted.items()}
        made = BatchSamples(batch.indices, self._digests_of(batch), kept, counts, self._uneven(alone, statistics))
        if batch.number == 0:
            self._check_size(made)
        self._batches[batch.number] = made

    def gather(self) -> None:
        """Give rank 0 the batches of all ranks, which all call this."""
        if self._world.alone:
            return
        sent = self._world.gather(packed(self._batches), "the samples of an evaluation")
        if self._world.first:
            self._batches = unpacked(sent)

    def samples(self, weights: str, step: int | None, figures: Mapping[str, Figure]) -> KeptSamples:
        """What was taken, in the order of the data set. figures: of the evaluation; arrays among them are left out."""
        batches = self._batches.values()
        order = np.argsort(np.concatenate([each.indices for each in batches]), kind="stable")
        digests = np.concatenate([each.digests for each in batches])[order]
        fingerprint = hashlib.blake2b(digests.tobytes(), digest_size=_DIGEST).hexdigest()
        measures = {name: self._measure(name, order, figures) for name in self._test.measures}
        return KeptSamples(weights, step, len(order), fingerprint, measures)

    def _uneven(
        self, alone: Mapping[str, Mapping[str, np.ndarray]], together: Mapping[str, Sequence[np.ndarray]]
    ) -> frozenset[str]:
        """The metrics whose counts of a batch are not the sum of those of its samples, which can then not be drawn again.

        alone: the counts of each sample of a batch, by metric; together: the statistics of the batch.
        """
        found = set[str]()
        for name, counted in alone.items():
            whole = dict(zip(self._test.measures[name].statistics, together[name], strict=True))
            if any((each.sum(axis=0) != whole[key]).any() for key, each in counted.items()):
                found.add(name)
        return frozenset(found)

    def _measure(self, name: str, order: np.ndarray, figures: Mapping[str, Figure]) -> MeasureSamples:
        own = {
            figure: value
            for figure, value in figures.items()
            if not isinstance(value, list) and (figure == name or (figure.startswith(f"{name}.") and not is_loss(name)))
        }
        batches = list(self._batches.values())
        spec, without = self._specs[name], self._without.get(name, "")
        if any(name in each.uneven for each in batches):
            without = f"the counts of {name} in a batch are not the sum of those of its samples"
        if without or not own:
            return MeasureSamples(spec, own, {}, {}, without or f"{name} is an array")
        kept = {
            key: np.concatenate([each.kept[name, key] for each in batches])[order] for of, key in batches[0].kept if of == name
        }
        places = np.empty(len(order), np.int32)
        places[order] = np.arange(len(order))
        counts = {key: _joined(batches, (name, key), places) for of, key in batches[0].counts if of == name}
        return MeasureSamples(spec, own, kept, counts)

    def _digests_of(self, batch: Batch) -> np.ndarray:
        """A digest of the targets of each sample, uint8 [n, 16]. Padding of targets of varying shape counts too."""
        targets = [np.ascontiguousarray(batch.arrays[position]) for position in self._targets]
        digests = [
            hashlib.blake2b(b"".join(each[row].tobytes() for each in targets), digest_size=_DIGEST).digest()
            for row in range(len(batch.indices))
        ]
        return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, _DIGEST)

    def _check_size(self, first: BatchSamples) -> None:
        """Raises PpemaError if all samples would take more than the limit, by those of the first batch."""
        sizes = first.sizes
        needed = sum(sizes.values()) / len(first.indices) * self._total
        if needed > self._most:
            largest = max(sizes, key=lambda name: sizes[name])
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


def _joined(batches: Sequence[BatchSamples], of: tuple[str, str], places: np.ndarray) -> SampleCounts:
    """The counts `of` a statistic in all batches. places: the number that each sample gets."""
    parts = [each.counts[of] for each in batches]
    firsts = np.cumsum([0, *(len(each.indices) for each in batches)])
    numbers = np.concatenate([each.sample + first for each, first in zip(parts, firsts, strict=False)])
    place, count = (np.concatenate([getattr(each, key) for each in parts]) for key in ("place", "count"))
    sample = places[numbers]
    order = np.argsort(sample, kind="stable")
    return SampleCounts(sample[order], place[order], count[order], parts[0].shape)


def _specs(config: Config) -> dict[str, Any]:
    """The section of each measure, as values of JSON. Two runs with equal ones measure the same."""
    parts = {name: spec.model_dump(mode="json") for name, spec in config.loss_parts.items()}
    metrics = {each.figure: each.model_dump(mode="json") for each in config.metrics}
    return {"loss": parts, **{f"loss.{name}": each for name, each in parts.items() if name}, **metrics}
