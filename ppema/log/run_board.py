"""Draws a run in VisualDL: a sub-folder for each set of weights, which VisualDL shows as a run, and one for training.

VisualDL draws the curves of one tag in several runs on one chart. It sorts the groups of tags by name, opens the first one, and
keeps the order of tags within a group. So the group of evaluations comes first, and in it the monitored metric.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from ppema.checkpoint.folder import contents
from ppema.checkpoint.links import check_no_link
from ppema.config import RAW
from ppema.log.board import BoardFile, add_hyperparameters, board_files, has_figures, kept_records
from ppema.log.records import measures_of

# The sub-folder of training. An average of this name shares it: their tags differ.
_TRAIN = "train"
# The keys of a train record that are no figures of the run.
_NO_FIGURES = ("kind", "step", "epoch", "decay", "health", "seconds")


class RunBoard:
    """The VisualDL files of one run. Methods raise OSError if a write fails; a later write then includes what is missing.

    raw, <average>: eval/<measure>, and eval/<monitored metric> minus raw. <average>: health/<figure> of the average, and
    layers/<layer group>, the distance of that part. train: train/<figure>, and the config as text.
    """

    def __init__(self, folder: Path, weights: Sequence[str] = (), first: Sequence[str] = ()):
        """Create the files of the sets of `weights` in `folder`. Then call `begin`.

        first: the measures whose charts come first: the monitored ones. Raises OSError, and SetupError for a link.
        """
        self._folder = folder
        self._first = tuple(dict.fromkeys(first))
        self._raw: Mapping[str, Any] = {}
        folder.mkdir(exist_ok=True)
        self._old = files_of(folder)
        self._files: dict[str, BoardFile] = {}
        with ExitStack() as opened:
            opened.callback(self.close)
            for name in (RAW, *weights, _TRAIN):
                self._file(name)
            opened.pop_all()

    def begin(self, records: Iterable[Mapping[str, Any]], step: int) -> None:
        """Draw `records`, those of the run up to `step`, and copy images and histograms up to `step` from older files.

        The older files are then deleted. A process that was killed before that left copies, which are copied once.
        """
        for record in records:
            self._add(record)
        copied: set[tuple[str, bytes]] = set()
        for file in self._old:
            for record in kept_records(file, step):
                each = file.parent.name, hashlib.sha256(record.SerializeToString()).digest()
                if each not in copied:
                    copied.add(each)
                    self._file(file.parent.name).add(record)
        self.flush()
        for file in self._old:
            file.unlink()

    def config(self, text: str, step: int) -> None:
        """Add the resolved config, as YAML, to the next write. A file without a figure is no sign of a run that went far."""
        self._file(_TRAIN).text("config", text, step)

    def image(self, name: str, tag: str, pixels: np.ndarray, step: int) -> None:
        """Add an image to the next write, in the sub-folder `name`. pixels: [height, width, 3] uint8."""
        self._file(name).image(tag, pixels, step)

    def histogram(self, name: str, tag: str, counts: np.ndarray, edges: np.ndarray, step: int) -> None:
        """Add a histogram to the next write, in the sub-folder `name`. counts: [n]; edges: [n + 1], the borders of the bins."""
        self._file(name).histogram(tag, counts, edges, step)

    def draw(self, record: Mapping[str, Any]) -> None:
        """Draw a line of metrics.jsonl."""
        self._add(record)
        self.flush()

    def flush(self) -> None:
        """Write all that was gathered, and what failed before."""
        failed = []
        for file in self._files.values():
            try:
                file.flush()
            except OSError as error:
                failed.append(error)
        if failed:
            raise failed[0]

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def _file(self, name: str) -> BoardFile:
        """The file in the sub-folder `name`, which is created if it is missing."""
        if name not in self._files:
            check_no_link(self._folder / name)
            (self._folder / name).mkdir(exist_ok=True)
            self._files[name] = BoardFile(self._folder / name)
        return self._files[name]

    def _add(self, record: Mapping[str, Any]) -> None:
        if record["kind"] == "train":
            figures = {name: value for name, value in record.items() if name not in _NO_FIGURES}
            self._scalars(_TRAIN, {f"train/{name}": value for name, value in figures.items()}, record["step"])
            health = record.get("health", {})
            for name, decay in record["decay"].items():
                self._scalars(name, {"health/decay": decay, **_health_scalars(health.get(name))}, record["step"])
        else:
            self._scalars(record["weights"], self._evaluated(record), record["step"])

    def _scalars(self, name: str, values: Mapping[str, float | None], step: int) -> None:
        for tag, value in values.items():
            if value is not None:
                self._file(name).scalar(tag, float(value), step)

    def _evaluated(self, record: Mapping[str, Any]) -> dict[str, float | None]:
        """The scalars of an evaluation by tag, the first ones first, each of these with its difference to the raw weights.

        The difference has an axis of its own. A gain of 0.01 can not be seen on an axis that begins at 0.1.
        """
        if record["weights"] == RAW:
            self._raw = record
        measures = measures_of(record)
        first = [name for name in self._first if name in measures] or measures[:1]
        scalars: dict[str, float | None] = {}
        for name in first:
            scalars[f"eval/{name}"] = record[name]
            raw = self._raw.get(name) if self._raw.get("step") == record["step"] else None
            if raw is not None and record[name] is not None:
                scalars[f"eval/{name} minus raw"] = record[name] - raw
        return scalars | {f"eval/{name}": record[name] for name in measures if name not in first}


def draw_hyperparameters(folder: Path, values: Mapping[str, Any], metric: str) -> None:
    """Add a row for each evaluated set of weights to VisualDL's table: `values` by key of the config, and the last `metric`.

    folder: the vdl of a run that has ended. Raises OSError, and CheckpointError if the folder can not be read.
    """
    plain = {key: value if type(value) in (int, float, str) else json.dumps(value) for key, value in values.items()}
    newest = {file.parent: file for file in sorted(files_of(folder), key=lambda each: each.name)}
    for weights, file in newest.items():
        if weights not in (folder, folder / _TRAIN):
            add_hyperparameters(file, {**plain, "weights": weights.name}, f"eval/{metric}")


def drawn(folder: Path) -> bool:
    """Whether a VisualDL file in `folder`, a run's vdl, has a figure. Raises CheckpointError if it can not be read."""
    return any(map(has_figures, _folders(folder)))


def files_of(folder: Path) -> list[Path]:
    """VisualDL's files in `folder`, where older versions wrote, and in its sub-folders."""
    return [each / name for each in _folders(folder) for name in board_files(each)]


def _folders(folder: Path) -> list[Path]:
    return [folder, *(folder / each.name for each in contents(folder) if each.is_dir(follow_symlinks=False))]


def _health_scalars(health: Mapping[str, Any] | None) -> dict[str, float | None]:
    if health is None:
        return {}
    scalars = {f"health/{figure}": health[figure] for figure in ("window", "distance", "stalled")}
    return scalars | {f"layers/{group}": value for group, value in health["groups"].items()}
