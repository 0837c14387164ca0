"""Draws the records of a run in VisualDL: the scalars of its log intervals and evaluations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ppema.log.board import Board, board_files
from ppema.log.records import measures_of

# The keys of a train record that are no figures of the run.
_NO_FIGURES = ("kind", "step", "epoch", "decay", "health", "seconds")


class RunBoard:
    """The VisualDL files of one run. Methods raise OSError if a write fails; a later write then includes what is missing."""

    def __init__(self, folder: Path):
        """Create a file in `folder`. Call `begin` first."""
        self._folder = folder
        folder.mkdir(exist_ok=True)
        self._old = board_files(folder)
        self._board = Board(folder)

    def begin(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Draw `records`, those of the run so far. Then delete the older files, which hold them too."""
        for record in records:
            self._add(record)
        self._board.flush()
        for name in self._old:
            (self._folder / name).unlink()

    def draw(self, record: Mapping[str, Any]) -> None:
        """Draw a line of metrics.jsonl: train/<figure>, decay/<average>, health; <metric>/<weights>."""
        self._add(record)
        self._board.flush()

    def flush(self) -> None:
        """Write what failed before."""
        self._board.flush()

    def close(self) -> None:
        self._board.close()

    def _add(self, record: Mapping[str, Any]) -> None:
        if record["kind"] == "train":
            scalars = {f"train/{name}": value for name, value in record.items() if name not in _NO_FIGURES}
            scalars |= {f"decay/{name}": decay for name, decay in record["decay"].items()}
            scalars |= _health_scalars(record.get("health", {}))
        else:
            scalars = {f"{measure}/{record['weights']}": record[measure] for measure in measures_of(record)}
        for tag, value in scalars.items():
            if value is not None:
                self._board.scalar(tag, float(value), record["step"])


def _health_scalars(health: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
    """The scalars {window,distance,stalled}/<average> and distance/<average>/<layer group>."""
    scalars = {}
    for name, each in health.items():
        scalars |= {f"{figure}/{name}": each[figure] for figure in ("window", "distance", "stalled")}
        scalars |= {f"distance/{name}/{group}": value for group, value in each["groups"].items()}
    return scalars
