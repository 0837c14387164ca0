"""Folders of runs that nobody trained: a config, and records with figures that a test chose."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ppema.config import to_yaml
from support.configs import SMALL, Sections, loader

# Steps in an epoch of the written runs.
PER_EPOCH = 10


def write_run(
    folder: Path, records: Iterable[Mapping[str, Any]], *overrides: str, base: Sections = SMALL, **sections: str
) -> Path:
    """A run of 4 epochs of 10 steps in `folder`. overrides, sections: of its config."""
    folder.mkdir(parents=True)
    config = loader(folder, base, **sections)(f"output={folder}", *overrides)
    (folder / "small.yml").unlink()
    (folder / "config.yml").write_text(to_yaml(config))
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in records))
    return folder


def evaluated(weights: str, steps: Mapping[int, float | None], **figures: float) -> list[dict[str, Any]]:
    """Records of evaluations, half a second of training per step. steps: accuracy by step; figures: others, at all steps."""
    return [
        {"kind": "eval", "step": step, "epoch": step / PER_EPOCH, "seconds": step / 2, "weights": weights, **figures}
        | {"accuracy": value}
        for step, value in steps.items()
    ]


def accuracies(**weights: float | None) -> list[dict[str, Any]]:
    """Records of a run that has evaluated only at its end, after 40 steps. weights: their accuracy."""
    return [record for name, value in weights.items() for record in evaluated(name, {40: value})]
