"""The refusal of links in a run's folder, so that a run writes and deletes only in its own folder.

The folder itself may be a link, for example to another disk. A link inside it could lead to another run's files.
"""

from __future__ import annotations

import os
from pathlib import Path

from ppema.errors import SetupError

_WRITTEN = ("checkpoints", "snapshots", "vdl", "metrics.jsonl", "history.jsonl", "log.txt")


def check_links(output: Path) -> None:
    """Raise SetupError if one of the files and folders that the run in `output` writes is a link."""
    for name in _WRITTEN:
        check_no_link(output / name)


def check_no_link(path: Path) -> None:
    """Raise SetupError if `path` itself is a link. The folders above it may be links."""
    if os.path.islink(path):
        raise SetupError(
            f"{path}: it is a link, and a run deletes and writes only in its own folder: remove it, or let the run's whole "
            "folder be the link"
        )
