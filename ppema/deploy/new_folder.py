"""A folder that gets its name only when it is complete and checked."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ppema.checkpoint.durable import sync_folder
from ppema.checkpoint.folder import MANIFEST
from ppema.deploy.description import CARD, DESCRIPTION, described_file, read_description
from ppema.errors import CheckpointError, Naming, PpemaError, TrainingError, listed, printable

_TRIES = 20  # of exports at once, each of which replaces the other's folder


def check_folder(target: Path) -> None:
    """Raise PpemaError unless an export may write `target`: it is missing, empty, or a former export and nothing else."""
    try:
        if (target.parent / MANIFEST).exists() or (target / MANIFEST).exists():
            raise PpemaError(Naming("{to}: {}: it is a checkpoint, or a part of one: choose another folder", target))
        if not target.is_symlink() and not target.exists():
            return
        if not target.is_dir() or target.is_symlink():
            raise PpemaError(Naming("{to}: {}: it is no folder: choose another name", target))
        _check_content(target, target)
    except OSError as error:
        raise PpemaError(Naming("{to}: {}: {}", target, error.strerror)) from error


def _check_content(folder: Path, target: Path) -> None:
    """Raise PpemaError, which names `target`, unless `folder` is empty, or a former export and nothing else."""
    try:
        others = _others(folder) if any(folder.iterdir()) else []
    except CheckpointError as error:
        raise PpemaError(Naming("{to}: {}: it is a folder of other files, which stays: choose another one", target)) from error
    if others:
        text = "{}: beside a former export it has {}, which would be lost: move it, or choose another folder"
        raise PpemaError(Naming(f"{{to}}: {text}", target, listed(list(map(printable, others)))))


def _others(folder: Path) -> list[str]:
    """What would be lost with the former export `folder`: what its description lacks, and a card that was edited."""
    written = read_description(folder).files
    own = {each.name for each in folder.iterdir() if each.is_file() and not each.is_symlink()} & {DESCRIPTION, *written}
    if CARD in own and described_file(folder / CARD) != written[CARD]:
        own.remove(CARD)
    others = sorted(each.name for each in folder.iterdir() if each.name not in own)
    return [f"{CARD} (edited)" if each == CARD and CARD in written else each for each in others]


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder to fill, which then becomes `target` and replaces a former export there.

    It is removed if the block raises. Raises PpemaError as `check_folder` does, and TrainingError if it can not be written.
    """
    check_folder(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise TrainingError(f"{target}: it can not be written: {error.strerror}") from error
    try:
        yield partial
        for each in partial.iterdir():
            _sync(each)
        # A temporary folder is readable by its owner only; this one is as any other new folder.
        partial.chmod(0o777 & ~_mask())
        sync_folder(partial)
        _rename(partial, target)
        sync_folder(target.parent)
    except OSError as error:
        raise TrainingError(f"{target}: it can not be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _sync(file: Path) -> None:
    handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _rename(partial: Path, target: Path) -> None:
    """Give `partial` the name `target`. A folder there is set aside first, and removed afterwards.

    Raises PpemaError for files that came into it during the export; the folder then has its name again.
    """
    aside = Path(f"{partial}.before")
    for left in range(_TRIES, 0, -1):
        with suppress(FileNotFoundError):
            os.rename(target, aside)
            _keep_others(aside, target)
        try:
            os.rename(partial, target)
            break
        except OSError:
            # Another export may have taken the name in between.
            if not target.exists() or left == 1:
                if aside.exists() and not target.exists():
                    os.rename(aside, target)
                raise
            shutil.rmtree(aside, ignore_errors=True)
    shutil.rmtree(aside, ignore_errors=True)


def _keep_others(aside: Path, target: Path) -> None:
    """Raise PpemaError if `aside`, which was `target`, has other files than a former export; it is then `target` again."""
    try:
        _check_content(aside, target)
    except (PpemaError, OSError):
        os.rename(aside, target)
        raise
