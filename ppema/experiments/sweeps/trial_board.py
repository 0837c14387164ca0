"""Adds ended trials to VisualDL's table of hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from ppema.errors import PpemaError
from ppema.experiments.sweeps.search.space import Space
from ppema.experiments.sweeps.sweep_folder import trial_folder


class TrialBoard:
    """The table of the sweep of `space` in `folder`. A thread writes it: the import of VisualDL alone takes seconds."""

    def __init__(self, space: Space, folder: Path):
        self._space, self._folder = space, folder
        self._thread = ThreadPoolExecutor(1)
        self._drawn: list[Future[None]] = []

    def add(self, number: int, params: Mapping[str, Any]) -> None:
        """Add the runs of the ended trial `number`, later."""
        self._drawn.append(self._thread.submit(self._draw, number, params))

    def close(self) -> None:
        """Wait until all are added."""
        self._thread.shutdown()
        for each in self._drawn:
            each.result()

    def _draw(self, number: int, params: Mapping[str, Any]) -> None:
        from ppema.log.run_board import draw_hyperparameters

        for seed in self._space.seeds:
            folder = trial_folder(self._folder, number, seed) / "vdl"
            # A sweep does not depend on the table.
            with suppress(OSError, PpemaError):
                draw_hyperparameters(folder, {**params, "seed": seed}, self._space.monitor.partition("/")[2])
