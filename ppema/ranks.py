"""The place of this process among those of a job that Paddle's launcher started. Each of them is a rank."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ppema.errors import SetupError

ENDS = "PPEMA_RANK_ENDS"  # the environment variable that names the folder in which ranks note how they ended

_GPUS = "FLAGS_selected_gpus"
_ARRIVED = "arrived"  # the folder of empty files, one for each local rank


@dataclass(frozen=True)
class Ranks:
    """rank: of this process, 0 <= rank < size; local_rank, local_size: the same among the processes of this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which alone writes."""
        return self.rank == 0


ONE = Ranks()  # of a process without others


def launched_ranks() -> Ranks:
    """As the launcher's environment variables have it; one process without them. Raises SetupError for other values."""
    names = ("PADDLE_TRAINER_ID", "PADDLE_TRAINERS_NUM", "PADDLE_LOCAL_RANK", "PADDLE_LOCAL_SIZE")
    variables = {name: os.environ.get(name, default) for name, default in zip(names, "0101", strict=True)}
    try:
        found = Ranks(*map(int, variables.values()))
    except ValueError:
        found = None
    if found is None or not (0 <= found.rank < found.size and 0 <= found.local_rank < found.local_size <= found.size):
        values = ", ".join(f"{name}={value}" for name, value in variables.items())
        raise SetupError(f"these environment variables, which Paddle's launcher sets, do not fit together: {values}")
    return found


def launched_gpu() -> int:
    """The number of the GPU that the launcher gave this process, among those that it sees; 0 without a launcher."""
    first = os.environ.get(_GPUS, "").partition(",")[0]
    return int(first) if first.isdecimal() else 0


@dataclass(frozen=True)
class NotedEnd:
    """How a rank ended. code: exit code, None if the rank was killed; line: on a fault of another rank that ended it, or ""."""

    rank: int
    local_rank: int
    code: int | None
    line: str


def note_end(code: int | None, line: str | None = None) -> None:
    """Note how this rank ended for `ppema launch`, if that started it, because Paddle's launcher keeps it to itself.

    code: its exit code, or None at its begin; line: on a fault of another rank that ended it; None keeps the one noted before.
    """
    if folder := os.environ.get(ENDS):
        names = ("PADDLE_TRAINER_ID", "PADDLE_LOCAL_RANK")
        path = Path(folder, "-".join(os.environ.get(name, "0") for name in names))
        with suppress(OSError):
            if line is None and path.exists():
                line = _noted_end(path).line
            path.write_text(json.dumps([code, line or ""]), encoding="utf-8")


def noted_ends(folder: Path) -> list[NotedEnd]:
    """How the ranks ended that wrote into `folder` by `note_end`, in their order."""
    return sorted((_noted_end(path) for path in folder.iterdir() if path.is_file()), key=lambda each: each.rank)


def note_arrival() -> None:
    """Note for the other ranks of this machine that this one is about to connect to them, if `ppema launch` started it."""
    if folder := os.environ.get(ENDS):
        arrived = Path(folder, _ARRIVED)
        arrived.mkdir(exist_ok=True)
        (arrived / os.environ.get("PADDLE_LOCAL_RANK", "0")).touch()


def arrived_ranks(folder: Path) -> set[int]:
    """The local ranks that called `note_arrival`, whose environment names `folder`."""
    return {int(path.name) for path in (folder / _ARRIVED).iterdir()}


def _noted_end(path: Path) -> NotedEnd:
    rank, local_rank = map(int, path.name.split("-"))
    try:
        return NotedEnd(rank, local_rank, *json.loads(path.read_text(encoding="utf-8")))
    except ValueError:  # it was killed while it wrote
        return NotedEnd(rank, local_rank, None, "")
