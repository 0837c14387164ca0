"""A run writes and deletes in its own folder alone.

The folder may be reached through a link, to another disk say. A link in it, in the place of what the run writes, may lead to
another run's files.
"""

from __future__ import annotations

import os
from pathlib import Path

from ppema.errors import SetupError

_WRITTEN = ("checkpoints", "snapshots", "vdl", "metrics.jsonl", "log.txt")


def check_links(output: Path) -> None:
    """Raise SetupError where what the run in `output` writes is a link."""
    for name in _WRITTEN:
        check_no_link(output / name)


def check_no_link(path: Path) -> None:
    """Raise SetupError where `path` itself is a link; the folders above it may be."""
    if os.path.islink(path):
        raise SetupError(
            f"{path}: it is a link, and a run deletes and writes in its own folder alone: remove it, or let the run's whole "
            "folder be the link"
        )
