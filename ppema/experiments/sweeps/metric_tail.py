"""The values of a metric in a run's metrics.jsonl, as they come."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ppema.errors import TrainingError


class MetricTail:
    """The evaluations of one run, read while it writes them.

    monitor: "<weights>/<metric>"; steps_per_epoch: by the last evaluation, 0 before it. A run that continues replaces its
    file, which is then read again from the start.
    """

    def __init__(self, output: Path, monitor: str):
        self._file = output / "metrics.jsonl"
        self._weights, _, self._metric = monitor.partition("/")
        self._identity: tuple[int, int] | None = None
        self._offset = 0
        self.steps_per_epoch = 0.0

    def new(self) -> list[tuple[int, float | None]]:
        """The evaluations since the last call: the step, and the metric, None if it is not finite. Raises TrainingError."""
        try:
            with open(self._file, "rb") as file:
                found = os.fstat(file.fileno())
                if (found.st_dev, found.st_ino) != self._identity or found.st_size < self._offset:
                    self._identity, self._offset = (found.st_dev, found.st_ino), 0
                file.seek(self._offset)
                lines = file.read(max(0, found.st_size - self._offset))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise TrainingError(f"{self._file}: it can not be read: {error.strerror}") from error
        whole = lines[: lines.rfind(b"\n") + 1]
        self._offset += len(whole)
        values = (self._value(line) for line in whole.splitlines())
        return [each for each in values if each is not None]

    def _value(self, line: bytes) -> tuple[int, float | None] | None:
        try:
            record: Any = json.loads(line)
            if record["kind"] != "eval" or record["weights"] != self._weights:
                return None
            step, value = int(record["step"]), record[self._metric]
            self.steps_per_epoch = step / (float(record["epoch"]) or 1.0)
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        return step, float(value) if isinstance(value, int | float) else None
