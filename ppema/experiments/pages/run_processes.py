"""The processes of a run: when they ran, how they ended, how fast they trained, and what they warned of."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ppema.checkpoint.lock import holder
from ppema.log.history import Ended, Started, read_history
from ppema.log.run import Run

_WARNING = "warning: "


@dataclass(frozen=True)
class Process:
    """One process of a run. ended: in words; seconds: None if it was killed, or still runs."""

    start: Started
    end: Ended | None
    ended: str
    seconds: float | None


def processes(output: Path) -> list[Process]:
    """The processes of a run or a sweep, in order. Raises SetupError if its history can not be read."""
    found, records = [], read_history(output)
    for index, record in enumerate(records):
        if isinstance(record, Started):
            after = records[index + 1] if index + 1 < len(records) else None
            end = after if isinstance(after, Ended) else None
            running = after is None and holder(output) is not None
            seconds = None if end is None else (end.time - record.time).total_seconds()
            found.append(Process(record, end, _ended(end, running), seconds))
    return found


def _ended(end: Ended | None, running: bool) -> str:
    if end is None:
        return "running" if running else "killed"
    if end.error is not None:
        return f"failed: {end.error}"
    return "done" if end.signal is None else f"stopped by signal {end.signal}"


def warnings_of(output: Path) -> list[tuple[str, int]]:
    """The warnings in the run's log.txt, each with its number of times."""
    lines: list[str] = []
    with suppress(OSError):
        lines = (output / "log.txt").read_text(encoding="utf-8", errors="replace").splitlines()
    return list(Counter(line.removeprefix(_WARNING) for line in lines if line.startswith(_WARNING)).items())


def lasting(found: Sequence[Process]) -> str:
    """How long the processes took together, in words; "" if it is not known of any."""
    known = [each.seconds for each in found if each.seconds is not None]
    if not known:
        return ""
    return ("at least " if len(known) < len(found) else "") + span(sum(known))


def span(seconds: float) -> str:
    """12 s, 3 min 5 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def speed(run: Run) -> float | None:
    """The median of the logged samples per second; None if none is logged."""
    rates = [each.get("samples_per_second") for each in run.records.train]
    found = [rate for rate in rates if rate is not None]
    return statistics.median(found) if found else None
