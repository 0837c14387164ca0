"""The folder of libraries that this user's processes have built."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ppema.errors import SetupError, one_line
from ppema.ir.native.compiler import Compiler
from ppema.ir.native.compiling import COMPILE_SECONDS, PRIVATE, build
from ppema.ir.native.library import name, say

POLL_SECONDS = 0.1


@contextlib.contextmanager
def library_for(compiler: Compiler) -> Iterator[Path]:
    """A context with the path of the library that `compiler` makes, kept from an earlier process or built now.

    Where nothing can be kept, it is built for this context alone. Raises SetupError, and OSError if even that is impossible.
    """
    key = compiler.key()
    try:
        library = _kept_or_built(key, compiler)
    except OSError as error:
        # The home is read-only, or missing, or the disk is full.
        with tempfile.TemporaryDirectory(prefix="ppema-") as folder:
            yield build(Path(folder), key, compiler, f"for this process alone: {one_line(error)}")
    else:
        yield library


def _kept_or_built(key: str, compiler: Compiler) -> Path:
    cache = _cache()
    cache.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    _make_private(cache)
    library = _kept(cache, key)
    if library is None:
        with _alone(cache):
            library = _kept(cache, key) or build(cache, key, compiler)
    return library


def _cache() -> Path:
    """The folder for libraries. Raises OSError if this user has no home."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "ppema"
    except RuntimeError as error:
        raise OSError(str(error)) from error


def _make_private(cache: Path) -> None:
    """Let nobody else write to `cache`, since this process loads its libraries.

    Raises SetupError if it belongs to another user, and OSError.
    """
    _check_owner(cache, cache.stat())
    cache.chmod(PRIVATE)


def _check_owner(path: Path, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise SetupError(
            f"{path} belongs to another user (number {found.st_uid}), and is not used: remove it, or set XDG_CACHE_HOME to a "
            "folder of your own"
        )


def _kept(cache: Path, key: str) -> Path | None:
    """The library with that key in `cache`, if its checksum is the one in its name. None: it has to be built.

    A library that others may write to does not count. Raises SetupError if it belongs to another user, and OSError.
    """
    for path in sorted(cache.glob(f"native-{key}-*.so")):
        found = path.lstat()
        _check_owner(path, found)
        ours = stat.S_ISREG(found.st_mode) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if ours and path.name == name(key, path):
            return path
    return None


@contextlib.contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """A context in which no other process builds in `cache`. The first process builds, and the others find its library.

    It holds the kernel's lock on the folder, which ends with its process. It waits no longer than a build may take, and not at
    all on a file system without locks: two builds at once waste time but do no harm.
    """
    handle = os.open(cache, os.O_RDONLY | os.O_DIRECTORY)
    try:
        end = time.monotonic() + COMPILE_SECONDS
        waits = False
        while not _locked(handle) and time.monotonic() < end:
            if not waits:
                say("waiting for another process, which builds its C++ operations")
            waits = True
            time.sleep(POLL_SECONDS)
        yield
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    """Try to lock `handle`. False: another process holds the lock. True also on a file system without locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
