"""A run as a comparison sees it: its evaluations, its settings, and how far it came."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ppema.checkpoint.best import FigureNames, has_direction, mode_of, wants_less
from ppema.config import Config
from ppema.config.horizon import Horizon
from ppema.errors import CheckpointError, PpemaError
from ppema.log.history import Started, read_history
from ppema.log.records import measures_of
from ppema.log.run import Run
from ppema.training.early_stopping import EarlyStopping

LOSS = "loss"
_ENVIRONMENT = {"ppema": "ppema", "Paddle": "paddle", "device": "device", "threads": "threads", "processor": "processor"}
# Keys of data.eval that decide how samples are read, not which ones.
_READING = ("batch_size", "shuffle", "workers", "transforms", "size", "channels")


@dataclass(frozen=True)
class Evaluation:
    """The figures of one set of weights after `step`. seconds: of training until then, None if unknown."""

    step: int
    epoch: float
    seconds: float | None
    figures: Mapping[str, float | None]


@dataclass(frozen=True)
class ComparedRun:
    """A run with at least one evaluation. Everything is read at its first use.

    name: its path, as it was given.
    """

    name: str
    run: Run

    def __post_init__(self) -> None:
        """Raise PpemaError without an evaluation."""
        if not self.run.records.evaluations:
            raise PpemaError(f"{self.name}: the run has no evaluation yet: it can not be compared")

    @property
    def config(self) -> Config:
        return self.run.config

    @property
    def seed(self) -> int:
        return self.config.seed

    @property
    def fold(self) -> int | None:
        """The fold of `data.split` that is kept for evaluation."""
        return self.config.data.split and self.config.data.split.fold

    @property
    def repetition(self) -> str:
        """The seed, and the fold if there is one, in words. Runs with the same one are pairs."""
        return f"seed {self.seed}" if self.fold is None else f"seed {self.seed}, fold {self.fold}"

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The resolved config, without what differs between repetitions of one experiment."""
        return _without_repetition(self.config.model_dump(mode="json"))

    @cached_property
    def chosen(self) -> dict[str, Any]:
        """`settings` without defaults."""
        return _without_repetition(self.config.model_dump(mode="json", exclude_defaults=True))

    @cached_property
    def evaluations(self) -> dict[str, list[Evaluation]]:
        """By weights, in the order of steps."""
        found: dict[str, list[Evaluation]] = {}
        for record in self.run.records.evaluations:
            figures = {name: record[name] for name in measures_of(record)}
            each = Evaluation(record["step"], record["epoch"], record.get("seconds"), figures)
            found.setdefault(record["weights"], []).append(each)
        return found

    @cached_property
    def figures(self) -> FigureNames:
        """The figures that all of the last evaluations of its weights have."""
        first, *others = {record["weights"]: record for record in self.run.records.evaluations}.values()
        numbers = [name for name in measures_of(first) if all(name in measures_of(other) for other in others)]
        return FigureNames(numbers, [name for name, value in first.items() if isinstance(value, list)])

    @property
    def monitored(self) -> str | None:
        """The metric of the first `train.monitor`."""
        return self.config.train.monitors[0].partition("/")[2] if self.config.train.monitors else None

    def less_is_better(self, metric: str) -> bool | None:
        """Whether the smallest value of `metric` is best; None if neither its name nor `train.mode` says so."""
        mode = mode_of(metric, self.config.train.monitors, self.config.train.mode)
        return wants_less(metric, mode) if mode is not None or has_direction(metric) else None

    def definition(self, metric: str) -> Any:
        """The section of the config that computes `metric`, as plain data. Equal figures have equal definitions."""
        name = metric.partition(".")[0]
        if name == LOSS:
            return self.settings["loss"], self.settings["losses"]
        specs = zip(self.config.metrics, self.settings["metrics"], strict=True)
        return [{**plain, "as": name} for spec, plain in specs if spec.figure == name]

    @property
    def evaluated_on(self) -> dict[str, Any]:
        """The keys of the config that choose the samples of evaluations, but for the fold."""
        data = self.settings["data"]
        name = "eval" if data["split"] is None else "train"
        chosen = {f"data.{name}.{key}": value for key, value in data[name].items() if key not in _READING}
        if not chosen.pop(f"data.{name}.drop_last") or name == "train":
            return {**chosen, "data.split": data["split"]}
        # Of a batch that is too small, no sample is evaluated.
        return {**chosen, "data.split": None, f"data.{name}.batch_size": data[name]["batch_size"]}

    @cached_property
    def environment(self) -> dict[str, str]:
        """The versions, device and processor of its processes, as far as they are known. Several are joined by "and"."""
        starts = [each for each in read_history(self.run.path) if isinstance(each, Started)]
        found = {}
        for word, field in _ENVIRONMENT.items():
            values = dict.fromkeys(str(value) for each in starts if (value := getattr(each, field)) is not None)
            if values:
                found[word] = " and ".join(values)
        return found

    @cached_property
    def steps(self) -> tuple[int, int]:
        """The step after its last record, and the number of steps of the whole run."""
        records = [*self.run.records.train, *self.run.records.evaluations]
        last = max(records, key=lambda record: record["step"])
        return last["step"], self._horizon.total_steps

    @cached_property
    def is_finished(self) -> bool:
        """Whether the run came to its end, or to an early stop."""
        step, total = self.steps
        if step >= total:
            return True
        if self.config.train.early_stop is not None:
            with contextlib.suppress(CheckpointError):
                last = self.run.last.manifest
                return EarlyStopping(self.config, self._horizon, last.state, last.early_stop).reason() is not None
        return False

    @property
    def _horizon(self) -> Horizon:
        record = max(self.run.records.evaluations, key=lambda record: record["step"])
        train = self.config.train
        per_epoch = round(record["step"] / record["epoch"]) if record["epoch"] else 1
        batch = self.config.data.train.batch_size * train.accumulate
        return Horizon(max(per_epoch, 1), batch, train.epochs, train.steps)


def _without_repetition(settings: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in settings.items() if key not in ("seed", "output")}
    # A sweep with other jobs trains a later seed with other threads. `compare` notes such differences of machines.
    if runtime := kept.pop("runtime", {}):
        runtime = {key: value for key, value in runtime.items() if key not in ("threads", "device")}
        kept |= {"runtime": runtime} if runtime else {}
    split = kept.get("data", {}).get("split")
    if split and split.get("fold") is not None:
        kept["data"] = {**kept["data"], "split": {key: value for key, value in split.items() if key != "fold"}}
    return kept
