"""ppema's own operations in C++: built where a compiler is, when they are first needed, and kept in the user's cache.

    ppema_average: one update of several averages (average.cc)
    ppema_finite: whether all numbers of each of several tensors are finite (finite.cc)

They are Paddle custom operators for the CPU: on a GPU no kernel of ours runs, as nobody has run one there. Not built by
Paddle's `cpp_extension.load`, which needs Python's headers, takes a second even where everything is built, and is not safe
where two processes build at once. One process builds while the others wait.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import paddle
from paddle.base import libpaddle
from paddle.utils.cpp_extension.extension_utils import load_op_meta_info_and_register_op

from ppema.errors import SetupError, one_line

SOURCES = Path(__file__).parent
COMPILE_SECONDS = 300.0
POLL_SECONDS = 0.1
_PRIVATE = 0o700
OFF = "PPEMA_NATIVE"  # 0 in this environment variable: as if there were no compiler


@lru_cache(maxsize=1)
def why_missing() -> str | None:
    """Give Paddle the operations, once for the process. Returns None, or in a line why there are none.

    Says on stderr when they were built just now, and when that failed.
    """
    if os.environ.get(OFF) == "0":
        return f"{OFF}=0"
    if paddle.is_compiled_with_cuda():
        return "this is a GPU build of Paddle, and they are for the CPU"
    try:
        _load()
    except (SetupError, OSError) as error:
        reason = one_line(error)
        _say(f"without its C++ operations, averages are updated by Paddle's, which are slower: {reason}")
        return reason
    return None


def _load() -> None:
    command, key = _command()
    try:
        cache = _cache()
        cache.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        _make_private(cache)
        library = _kept(cache, key)
        if library is None:
            with _alone(cache):
                library = _kept(cache, key) or _build(cache, key, command)
    except OSError as error:
        # A read-only home, a full disk, no home at all.
        with tempfile.TemporaryDirectory(prefix="ppema-") as folder:
            _register(_build(Path(folder), key, command, f"for this process alone: {one_line(error)}"))
    else:
        _register(library)


def _cache() -> Path:
    """Where libraries are kept. Raises OSError where this user has no home."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "ppema"
    except RuntimeError as error:
        raise OSError(str(error)) from error


def _make_private(cache: Path) -> None:
    """Nobody else may write to `cache`, whose libraries become a part of this process. Raises SetupError, OSError."""
    _check_owner(cache, cache.stat())
    cache.chmod(_PRIVATE)


def _check_owner(path: Path, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise SetupError(
            f"{path} belongs to another user (number {found.st_uid}), and is not used: remove it, or set XDG_CACHE_HOME to a "
            "folder of your own"
        )


def _kept(cache: Path, key: str) -> Path | None:
    """The library of that key which `cache` holds, if it is what was built: its checksum is a part of its name.

    One that others may write to is built again. Raises SetupError for another user's, OSError.
    """
    for path in sorted(cache.glob(f"native-{key}-*.so")):
        found = path.lstat()
        _check_owner(path, found)
        ours = stat.S_ISREG(found.st_mode) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if ours and path.name == _name(key, path):
            return path
    return None


@contextlib.contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """Inside, no other process builds in `cache`: the first one does, and the others find what it has built.

    It is the kernel's lock on the folder, which ends with its process. A lock that is held for longer than a build may take, or
    that the file system does not have, is not waited for: two builds at once waste time, and do no harm.
    """
    handle = os.open(cache, os.O_RDONLY | os.O_DIRECTORY)
    try:
        end = time.monotonic() + COMPILE_SECONDS
        waits = False
        while not _locked(handle) and time.monotonic() < end:
            if not waits:
                _say("waiting for another process, which builds its C++ operations")
            waits = True
            time.sleep(POLL_SECONDS)
        yield
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    """Whether nobody else holds the lock of `handle`, which is this process's then if there are locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _name(key: str, library: Path) -> str:
    return f"native-{key}-{hashlib.sha256(library.read_bytes()).hexdigest()}.so"


def _register(library: Path) -> None:
    try:
        load_op_meta_info_and_register_op(str(library))
    except Exception as error:
        raise SetupError(f"{library} can not be loaded: {one_line(error)}") from error


def _build(folder: Path, key: str, command: list[str], why: str = "") -> Path:
    """why: it is done for this process alone; "" where it is kept."""
    begin = time.perf_counter()
    _sweep(folder)
    # Moved there when it is whole: this process may be killed, and another one build the same without a lock.
    with tempfile.TemporaryDirectory(prefix="building-", dir=folder) as place:
        made = Path(place) / "native.so"
        try:
            done = subprocess.run([*command, "-o", str(made)], capture_output=True, text=True, timeout=COMPILE_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise SetupError(f"{command[0]} did not end within {COMPILE_SECONDS:.0f} s") from error
        if done.returncode != 0:
            raise SetupError(f"{command[0]} failed: {_first_error(done.stderr)}")
        made.chmod(_PRIVATE)
        library = folder / _name(key, made)
        os.replace(made, library)
    seconds = time.perf_counter() - begin
    _say(f"built its C++ operations for Paddle {paddle.__version__} in {seconds:.0f} s, {why or f'once: {library}'}")
    return library


def _sweep(folder: Path) -> None:
    """Remove what builds left behind whose process was killed."""
    for left in folder.glob("building-*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > 2 * COMPILE_SECONDS:
                shutil.rmtree(left)


def _say(line: str) -> None:
    print(f"ppema: {line}", file=sys.stderr)


def _first_error(output: str) -> str:
    lines = [line for line in output.splitlines() if "error" in line] or output.splitlines()[-1:] or ["it said nothing"]
    return lines[0]


def _command() -> tuple[list[str], str]:
    """What compiles and links the sources, but for the output; and a key that changes with whatever the result depends on."""
    # CXX may hold a launcher and options too, as make has it: "ccache g++".
    compiler = _words(os.environ.get("CXX", "")) or list(filter(shutil.which, ("g++", "c++")))[:1]
    if not compiler:
        raise SetupError("there is no C++ compiler (g++)")
    include, libraries, core = paddle.sysconfig.get_include(), Path(paddle.sysconfig.get_lib()), Path(libpaddle.__file__)
    sources = sorted(SOURCES.glob("*.cc"))
    linked = [libraries / name for name in ("libphi.so", "libphi_core.so", "libcommon.so", "libiomp5.so")]
    command = [
        *(*compiler, "-std=c++17", "-O3", "-march=native", "-fopenmp", "-fPIC", "-shared"),
        # Each operation rounds once, so that a compensated average is the same on every machine.
        "-ffp-contract=off",
        *("-isystem", include, "-isystem", f"{include}/third_party", "-DPADDLE_WITH_CUSTOM_KERNEL"),
        *map(str, sources),
        *(f"-L{core.parent}", f"-L{libraries}", f"-l:{core.name}"),
        # libiomp5 is the OpenMP that Paddle runs with: a second one would bring threads of its own.
        *(f"-l:{library.name}" for library in linked if library.exists()),
        f"-Wl,-rpath,{core.parent}:{libraries}",
        # A symbol that this Paddle lacks fails here, or when it is loaded, and does not end the process when it is called.
        *("-Wl,-z,defs", "-Wl,-z,now", "-Wl,--allow-shlib-undefined"),
    ]
    try:
        version = subprocess.run([*compiler, "--version"], capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SetupError(f"{shlex.join(compiler)} can not be run: {one_line(error)}") from error
    texts = [paddle.__version__, paddle.__git_commit__, version, _processor(), *command]
    contents = [path.read_bytes() for path in sorted(SOURCES.glob("*.[ch]*"))]
    key = hashlib.sha256(b"\0".join([*(text.encode() for text in texts), *contents])).hexdigest()[:16]
    return command, key


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise SetupError(f"CXX={command}: {error}") from error


def _processor() -> str:
    """What -march=native makes of this machine depends on it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        return platform.processor()
