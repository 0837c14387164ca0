"""Writes the table of measured candidates: as JSON, as a figure, and to VisualDL."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ppema.errors import TrainingError
from ppema.log import figure_texts
from ppema.log.board import BoardFile
from ppema.log.curves import figure
from ppema.log.records import finite
from ppema.posthoc.candidates import Row
from ppema.posthoc.lengths import Kind

# VisualDL's axis has integers only, so σ_rel is in ten-thousandths, and half-lives in steps.
_PER_UNIT: dict[Kind, int] = {"sigma_rel": 10_000, "half_life": 1}
_AXES: dict[Kind, str] = {"sigma_rel": "σ_rel", "half_life": "half-life in steps"}


@dataclass(frozen=True)
class Report:
    """The table of measured candidates.

    name: of the files; kind: of the rows' lengths, None for a mean of checkpoints; step: of the run; metric: decided about the
    best; rows: in the order of their lengths; best: one of them, or None if none can win.
    """

    name: str
    kind: Kind | None
    step: int
    metric: str
    rows: Sequence[Row]
    best: Row | None


def write_report(folder: Path, report: Report) -> None:
    """Write <name>.json into `folder`; for two or more lengths also <name>.png and VisualDL's records vdl/<name>.

    Raises TrainingError if a file can not be written, or DataError for the figure.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{report.name}.json").write_text(json.dumps(finite(asdict(report)), indent=1) + "\n", encoding="utf-8")
        if report.kind is not None and len(report.rows) > 1:
            image = folder / f"{report.name}.png"
            _draw(report, report.kind, image)
            _log(report, report.kind, image, folder / "vdl" / report.name)
    except OSError as error:
        raise TrainingError(f"{folder}: the table could not be written: {error}") from error


def _draw(report: Report, kind: Kind, file: Path) -> None:
    lengths = [row.length for row in report.rows if row.length is not None]
    values = [row.metrics[report.metric] for row in report.rows]
    with figure(file) as axes:
        axes.plot(lengths, values, marker="o", linewidth=2)
        if report.best is not None:
            best = report.best.metrics[report.metric]
            label = f"{figure_texts.figure(best)} with {report.best.name}"
            axes.plot([report.best.length], [best], marker="*", markersize=16, linestyle="none", label=label)
            axes.legend(frameon=False)
        axes.set_xscale("log")
        ticks = np.geomspace(min(lengths), max(lengths), 6)
        axes.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel(f"{_AXES[kind]}, at step {report.step}")
        axes.set_ylabel(report.metric)


def _log(report: Report, kind: Kind, image: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with closing(BoardFile(folder)) as board:
        for row in report.rows:
            assert row.length is not None
            for metric, value in row.metrics.items():
                board.scalar(metric, float(value), round(row.length * _PER_UNIT[kind]))
        board.image(f"{report.metric} by length", _pixels(image), report.step)
        board.flush()


def _pixels(image: Path) -> np.ndarray:
    """[height, width, 3] uint8."""
    from PIL import Image

    with Image.open(image) as opened:
        return np.asarray(opened.convert("RGB"))
