"""What a run drew in VisualDL, as VisualDL's own reader has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from visualdl import LogReader


def drawn(output: Path, name: str, tag: str) -> list[tuple[int, float]]:
    """The steps and values of a scalar in the only file of the sub-folder `name` of a run's vdl. VisualDL holds float32."""
    return [(point.id, point.value) for point in records(output, name, "scalar", tag)]


def records(output: Path, name: str, kind: str, tag: str) -> list[Any]:
    """The records of a kind: scalar, image, histogram, text, hyper_parameters."""
    return _reader(output, name).get_data(kind, tag)


def drawn_tags(output: Path, name: str, kind: str = "scalar") -> list[str]:
    """In the order in which they were drawn first."""
    return [tag.replace("%", "/") for tag in _reader(output, name).get_tags().get(kind, [])]


def _reader(output: Path, name: str) -> LogReader:
    (file,) = (output / "vdl" / name).glob("*.log")
    return LogReader(file_path=str(file))
