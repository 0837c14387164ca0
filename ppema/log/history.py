"""Records in history.jsonl when a run or a sweep started and ended, from which config, on which machine, in which versions."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ppema.checkpoint.appended import AppendedFile
from ppema.config import Config
from ppema.config.provenance import KeyOrigin, origins
from ppema.environment import available_cores, processor, threads_in_use
from ppema.errors import DivergedError, SetupError, one_line
from ppema.version import VERSION

FILE = "history.jsonl"
_GIT_SECONDS = 5.0


class Started(BaseModel):
    """The start of a process. Times are local, with their offset. step: from which it went on.

    config, overrides: the arguments of `load_config`, the path relative to the working folder if it is below; None for a config
    made by code. origins: of the keys that are not defaults. device, paddle, threads: None for a process without Paddle.
    commit: of the git work tree around the config's file, or around the working folder for a config made by code; it ends in
    "-dirty" if tracked files differ from it. None without git.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["start"] = "start"
    time: datetime
    step: int = 0
    config: str | None = None
    overrides: list[str] = []
    origins: list[KeyOrigin] = []
    ppema: str
    paddle: str | None = None
    python: str
    system: str
    processor: str
    cores: int
    device: str | None = None
    threads: int | None = None
    commit: str | None = None


class Ended(BaseModel):
    """The end of a process that was not killed. step: the last; signal: that stopped it; error: that ended it, in one line.

    diverged: true if its training diverged, otherwise None.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["end"] = "end"
    time: datetime
    step: int | None = None
    signal: int | None = None
    error: str | None = None
    diverged: bool | None = None


_RECORD: TypeAdapter[Started | Ended] = TypeAdapter(Annotated[Started | Ended, Field(discriminator="kind")])


@dataclass
class ProcessEnding:
    """What a process knows of its end: the fields of `Ended`, which it sets while it runs."""

    step: int | None = None
    signal: int | None = None


@contextmanager
def recorded(
    output: Path,
    config: Config,
    *,
    step: int = 0,
    resolved: Config | None = None,
    paddle: str | None = None,
    device: str | None = None,
) -> Iterator[ProcessEnding]:
    """Record the start of a run or a sweep in the existing folder `output`, and its end after the block.

    resolved: the config of the run once its data is known; paddle, device: the version, and the device of its programs.
    A record that can not be written is left out, because the run's log refuses such a folder.
    """
    positions = config.positions
    begun = Started(
        time=_now(),
        step=step,
        config=None if positions.file is None else _relative(positions.file),
        overrides=list(positions.overrides),
        origins=[replace(each, place=_relative(each.place)) for each in origins(config, resolved)],
        ppema=VERSION,
        paddle=paddle,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()}",
        processor=processor(),
        cores=available_cores(),
        device=device,
        threads=None if paddle is None else threads_in_use(),
        commit=_commit(os.path.dirname(positions.file or "") or "."),
    )
    _append(output, begun)
    ending = ProcessEnding()
    try:
        yield ending
    except BaseException as error:
        _append(
            output,
            Ended(time=_now(), step=ending.step, error=one_line(error), diverged=isinstance(error, DivergedError) or None),
        )
        raise
    _append(output, Ended(time=_now(), step=ending.step, signal=ending.signal))


def read_history(output: Path) -> list[Started | Ended]:
    """The records of the run or sweep in `output`, in order. Other lines, such as a cut last one, are ignored.

    Returns an empty list for a run of an earlier version, which has no such file. Raises SetupError if it can not be read.
    """
    file, found = output / FILE, []
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []
    except OSError as error:
        raise SetupError(f"{file}: the history of the run can not be read: {error.strerror}") from error
    for line in lines:
        with suppress(ValidationError):
            found.append(_RECORD.validate_json(line))
    return found


def _append(output: Path, record: Started | Ended) -> None:
    with suppress(OSError), closing(AppendedFile(output / FILE)) as file:
        file.append(f"{record.model_dump_json(exclude_none=True)}\n".encode())


def _now() -> datetime:
    return datetime.now().astimezone().replace(microsecond=0)


def _relative(place: str) -> str:
    """A path, or a place in a file, relative to the working folder if it is below."""
    here = os.path.join(os.getcwd(), "")
    return place.removeprefix(here)


def _commit(folder: str) -> str | None:
    """The commit of the work tree, with "-dirty" if a tracked file differs; None without one.

    `git describe --dirty` would lock the index, and a `git commit` of the user could then fail.
    """
    command = ["git", "--no-optional-locks", "-C", folder, "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_SECONDS, check=False)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    lines = done.stdout.splitlines()
    commit = next((line.split()[2] for line in lines if line.startswith("# branch.oid ")), "(initial)")
    if done.returncode or commit == "(initial)":
        return None
    return commit if all(line.startswith("#") for line in lines) else f"{commit}-dirty"
