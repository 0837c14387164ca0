"""Stands in, on ranks other than the first, for what the first one alone does: log, save, show progress."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

from ppema.distributed.sharded import ShardedAverages
from ppema.log.interval import TrainingTime


class Unheard:
    """Accepts every call of a log, a saver, a progress bar or a lock, and does nothing. A context manager.

    time: as that of a log.
    """

    def __init__(self) -> None:
        self.time = TrainingTime()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    def newest(self) -> Path | None:
        """None: the first rank names the newest checkpoint."""
        return None

    def __getattr__(self, name: str) -> Any:
        return _nothing


class UnheardSaver(Unheard):
    """In place of the saver: it takes part where the first rank needs the parts of this one."""

    def __init__(self, shards: ShardedAverages):
        super().__init__()
        self._shards = shards

    def save(self, *arguments: Any, **named: Any) -> None:
        """Take part in putting averages together. Raises PeerError."""
        self._shards.assist()


def _nothing(*arguments: Any, **named: Any) -> None:
    """Does nothing."""
