"""What ranks other than the first have in place of its log, progress bar and saver: they write and show nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ppema.distributed.sharded import ShardedAverages
from ppema.log.interval import TrainingTime
from ppema.log.log import RunLog
from ppema.log.terminal.progress import Bar
from ppema.log.terminal.standings import Standings
from ppema.training.saving.save import Saver


class UnheardBar(Bar):
    """A bar that shows nothing: the methods of `Bar` itself do nothing."""

    def __init__(self) -> None:
        self.standings = Standings()


class UnheardLog:
    """In place of a RunLog, which documents its methods: it keeps the time, and writes nothing."""

    board = None

    def __init__(self) -> None:
        self.time = TrainingTime()

    def say(self, text: str) -> None:
        """Does nothing."""

    def warn(self, warnings: Iterable[str]) -> None:
        """Does nothing. `warnings` may be a generator, which is not read."""

    def train(self, step: int, epoch: float, interval: object, **named: object) -> None:
        """Does nothing."""

    def evaluation(self, step: int, epoch: float, weights: str, metrics: Mapping[str, Any]) -> None:
        """Does nothing."""

    def evaluated(self, step: int, epoch: float, figures: Mapping[str, Mapping[str, float]]) -> None:
        """Does nothing."""

    def doing(self, what: str) -> None:
        """Does nothing."""


class UnheardSaver:
    """In place of a Saver, which documents its methods: it takes part where the first rank needs the parts of this one."""

    def __init__(self, shards: ShardedAverages):
        self._shards = shards

    def save(self, *arguments: object, **named: object) -> None:
        """Take part in putting averages together. Raises PeerError."""
        self._shards.assist()

    def submit(self, write: Callable[[], object] | None) -> None:
        """Does nothing: the first rank writes."""

    def check(self) -> None:
        """Does nothing."""

    def finish(self) -> None:
        """Does nothing."""

    def newest(self) -> Path | None:
        """None: the first rank names the newest checkpoint."""
        return None


Log = RunLog | UnheardLog
AnySaver = Saver | UnheardSaver
