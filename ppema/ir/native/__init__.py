"""ppema's own operations in C++, compiled at the first use if there is a compiler, and kept in the user's cache.

    ppema_average: one update of several averages (average.cc)
    ppema_finite: whether all numbers of each of several tensors are finite (finite.cc)
    ppema_norm, ppema_norms: the norms of a step's gradients, and of its weights and their change (norms.cc)

They are Paddle custom operators for the CPU. They do not run on a GPU, since nobody has tried one there. One process builds
them while the others wait. Paddle's `cpp_extension.load` is not used: it needs Python's headers, takes a second even if
everything is built, and is not safe if two processes build at once.
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
OFF = "PPEMA_NATIVE"  # 0 in this environment variable turns the operations off


@lru_cache(maxsize=1)
def why_missing() -> str | None:
    """Register the operations with Paddle, once per process. Returns None, or one line that says why there are none.

    Prints a line on stderr after a build, and after a failed one.
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
        # The home is read-only, or missing, or the disk is full.
        with tempfile.TemporaryDirectory(prefix="ppema-") as folder:
            _register(_build(Path(folder), key, command, f"for this process alone: {one_line(error)}"))
    else:
        _register(library)


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
    cache.chmod(_PRIVATE)


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
        if ours and path.name == _name(key, path):
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
                _say("waiting for another process, which builds its C++ operations")
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


def _name(key: str, library: Path) -> str:
    return f"native-{key}-{hashlib.sha256(library.read_bytes()).hexdigest()}.so"


def _register(library: Path) -> None:
    try:
        load_op_meta_info_and_register_op(str(library))
    except Exception as error:
        raise SetupError(f"{library} can not be loaded: {one_line(error)}") from error


def _build(folder: Path, key: str, command: list[str], why: str = "") -> Path:
    """Compile the library into `folder` and return its path. Raises SetupError if the compiler fails, and OSError.

    why: reason why only this process uses the library, for the line on stderr. "": it is kept.
    """
    begin = time.perf_counter()
    _sweep(folder)
    # The library is moved to its name when it is complete: this process may be killed, or another may build without a lock.
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
    """Remove the temporary folders of builds whose process was killed."""
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
    """The command that compiles and links the sources, without its output, and a key of everything that the result depends on.

    Raises SetupError if there is no compiler or it cannot run.
    """
    # CXX may include a launcher and options, as in make: "ccache g++".
    compiler = _words(os.environ.get("CXX", "")) or list(filter(shutil.which, ("g++", "c++")))[:1]
    if not compiler:
        raise SetupError("there is no C++ compiler (g++)")
    include, libraries, core = paddle.sysconfig.get_include(), Path(paddle.sysconfig.get_lib()), Path(libpaddle.__file__)
    sources = sorted(SOURCES.glob("*.cc"))
    linked = [libraries / name for name in ("libphi.so", "libphi_core.so", "libcommon.so", "libiomp5.so")]
    command = [
        *(*compiler, "-std=c++17", "-O3", "-march=native", "-fopenmp", "-fPIC", "-shared"),
        # No fused operations: each rounds once, so a compensated average is the same on every machine.
        "-ffp-contract=off",
        *("-isystem", include, "-isystem", f"{include}/third_party", "-DPADDLE_WITH_CUSTOM_KERNEL"),
        *map(str, sources),
        *(f"-L{core.parent}", f"-L{libraries}", f"-l:{core.name}"),
        # libiomp5 is Paddle's OpenMP: a second OpenMP would add threads of its own.
        *(f"-l:{library.name}" for library in linked if library.exists()),
        f"-Wl,-rpath,{core.parent}:{libraries}",
        # A missing symbol of Paddle fails at linking or loading; otherwise its first call would end the process.
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
    """The features of the processor, on which the result of -march=native depends."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        return platform.processor()
