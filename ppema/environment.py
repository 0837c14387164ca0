"""Prepares the process for paddle: threads, memory, log levels, and a check of the installed build.

OpenMP reads its thread count once, when paddle's libraries are loaded. Paddle's default is a single thread. Every command line
and `ppema.api` therefore call this module first, and the module imports paddle only in `load_paddle`.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib.metadata
import io
import os
import platform
import re
import sys
import warnings
from functools import lru_cache
from pathlib import Path

from ppema.errors import SetupError
from ppema.ranks import launched_ranks

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_MKL_SETTINGS = ("MKL_DEBUG_CPU_TYPE", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS")
MOST_THREADS = 1024  # with tens of thousands OpenMP aborts the process
_CONTROL_GROUPS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)
BUILDS = ("paddlepaddle", "paddlepaddle-gpu")
# The releases of Paddle that the tests run on; requirements*.txt, pyproject.toml and noxfile.py name the same.
PROGRAM_DESC, OLDEST_PIR, NEWEST_PIR = (2, 6), (3, 0), (3, 3)
TESTED = "2.6 or 3.0 to 3.3"


def available_cores() -> int:
    """The number of cores in this process's affinity mask, ≥ 1. It may be less than the machine's total."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The name of the processor, as its maker writes it; that of its architecture where the system has no other."""
    names = (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name"))
    return next(names, "") or platform.machine()


def available_memory() -> int:
    """The bytes of memory available to this process: the system's, or the rest of its control group's limit if smaller."""
    found = [int(line.split()[1]) << 10 for line in _lines("/proc/meminfo") if line.startswith("MemAvailable:")]
    for folder, limit, used in _CONTROL_GROUPS:
        bounds = [*_lines(f"{folder}/{limit}"), *_lines(f"{folder}/{used}")]
        if len(bounds) == 2 and all(each.isdecimal() for each in bounds):  # "max": there is no limit
            found.append(max(0, int(bounds[0]) - int(bounds[1])))
    return min(found, default=0)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def choose_threads(threads: int | str) -> int:
    """Set the number of OpenMP threads and return it.

    "auto" is OMP_NUM_THREADS if set, else the number of cores divided by that of the ranks on this machine, at least 1.

    The number can not change once paddle is loaded. Raises SetupError if paddle was loaded with another number, and for more
    than MOST_THREADS.
    """
    inherited = os.environ.get("OMP_NUM_THREADS", "")
    default = int(inherited) if inherited.isdecimal() and int(inherited) > 0 else _share_of_cores()
    wanted = default if threads == "auto" else int(threads)
    if wanted > MOST_THREADS:
        raise SetupError(f"runtime.threads: {wanted} threads were asked for; this machine has {available_cores()} cores")
    if "paddle" in sys.modules and str(wanted) != inherited:
        asked = "1 thread was" if wanted == 1 else f"{wanted} threads were"
        raise SetupError(
            f"runtime.threads: {asked} asked for, but paddle is already loaded with {inherited or 1}: set "
            f"os.environ['OMP_NUM_THREADS'] = '{wanted}' before paddle is imported, or set runtime.threads to {inherited or 1}"
        )
    os.environ["OMP_NUM_THREADS"] = str(wanted)
    return wanted


def _share_of_cores() -> int:
    return max(1, available_cores() // launched_ranks().local_size)


def keep_freed_memory() -> bool:
    """Let glibc keep freed large blocks for later allocations of this process. Returns whether it does.

    By default glibc returns large blocks, and free memory at the end of its heap, to the system at once. Each step of a
    ResNet-18 then got 75 MiB again, page by page, zeroed: a fifth of the step. The price is that the process never shrinks.
    Nothing changes if the user set one of glibc's own variables, MALLOC_*.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False  # another libc
    # glibc before 2.35 refuses more than 32 MiB.
    return any(mallopt(_M_MMAP_THRESHOLD, size) for size in (2**30, 2**25)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


def let_mkl_use_avx2() -> bool:
    """Let MKL use AVX2 on a processor of AMD, in this process and those that it starts. Returns whether this set it so.

    MKL, Paddle's library for products of matrices, takes its slowest code on processors that are not Intel's: a product of
    1024 x 256 and 256 x 1024 took 2.8 times as long on an EPYC. It reads the setting at its first product, and so paddle may be
    imported already. Nothing changes without AVX2 and FMA, and if the user chose MKL's code by one of its own variables.
    """
    if any(name in os.environ for name in _MKL_SETTINGS):
        return False
    fields = dict(line.replace("\t", "").split(":", 1) for line in _lines("/proc/cpuinfo") if ":" in line)
    fits = fields.get("vendor_id", "").strip() == "AuthenticAMD" and {"avx2", "fma"} <= set(fields.get("flags", "").split())
    if fits:
        os.environ["MKL_DEBUG_CPU_TYPE"] = "5"
    return fits


def mkl_settings() -> str:
    """The variables of the environment that select MKL's code, on which the last bits of products depend. "": none is set."""
    return ", ".join(f"{name}={os.environ[name]}" for name in _MKL_SETTINGS if name in os.environ)


def threads_in_use() -> int:
    """The number of paddle's OpenMP threads, to be recorded: only equal numbers give bit-identical results."""
    inherited = os.environ.get("OMP_NUM_THREADS", "")
    return int(inherited) if inherited.isdecimal() else 1


def installed_builds() -> tuple[str, ...]:
    """The names of the paddle distributions that pip installed here."""
    return tuple(build for build in BUILDS if list(importlib.metadata.distributions(name=build)))


def release(version: str) -> tuple[int, int]:
    """The first two numbers of a version of Paddle; (0, 0) for a build from source, whose version is 0.0.0."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)


@lru_cache(maxsize=1)
def check_version(version: str) -> None:
    """Warn once if Paddle is newer than the tested releases or of unknown age. Raises SetupError if it is too old.

    version: `paddle.__version__`.
    """
    found = release(version)
    early = re.match(r"3\.0\.0[-._]?(?:a|b|rc|dev)", version)
    if found > NEWEST_PIR or found == (0, 0):
        warnings.warn(f"ppema was tested with paddle {TESTED}, and this is {version}: if it fails, install 3.3", stacklevel=3)
    elif early or (found != PROGRAM_DESC and found < OLDEST_PIR):
        raise SetupError(f"paddle {version} is too old: ppema needs paddle {TESTED}: pip install -r requirements.txt")


def load_paddle():
    """Import paddle quietly, check the installation, switch to static mode, and return the module.

    Raises SetupError if no paddle or both builds are installed, if its libraries do not load, or if it is too old.
    """
    builds = installed_builds()
    if len(builds) > 1:
        raise SetupError(
            "both paddlepaddle and paddlepaddle-gpu are installed; they overwrite each other's files: run "
            "'pip uninstall paddlepaddle paddlepaddle-gpu' and install one of them again"
        )
    # Paddle writes an info line for every executor, and a warning about more than one thread, which is intended.
    os.environ.setdefault("GLOG_minloglevel", "2")
    let_mkl_use_avx2()
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), _lasting():
            import paddle
    except (ImportError, OSError) as error:
        hint = "" if builds else ": pip install -r requirements.txt (CPU) or requirements-gpu.txt"
        raise SetupError(f"paddle can not be imported ({error}){hint}") from error
    finally:
        sys.stderr.writelines(line for line in said.getvalue().splitlines(True) if "OMP_NUM_THREADS" not in line)
    check_version(paddle.__version__)
    # Paddle's warnings about its own code, at every minimize and at every BatchNorm.
    warnings.filterwarnings("ignore", message="Tensor do not have 'place' interface")
    warnings.filterwarnings("ignore", message="When training, we now always track global mean")
    warnings.filterwarnings("ignore", message=r"(?s).*The behavior of expression A .+ B has been unified")
    # Paddle's signal handler prints a C++ trace, and sometimes hangs if another thread is at work.
    paddle.disable_signal_handler()
    paddle.enable_static()
    return paddle


@contextlib.contextmanager
def _lasting():
    """Keep the garbage collector away from what the body imports, now and later: modules last as long as the process.

    Paddle makes 130,000 objects. To walk through them took an eighth of its import, and 0.07 s again each time later. The
    objects from before are left alone too: a cycle of them that is dropped later is not freed.
    """
    collects = gc.isenabled() and "paddle" not in sys.modules
    if not collects:
        yield
        return
    gc.collect()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


def paddle_with(threads: int | str) -> None:
    """Load paddle in static mode, as `load_paddle`; with `threads` threads, as `choose_threads`, if it is not loaded yet."""
    if "paddle" not in sys.modules:
        choose_threads(threads)
    load_paddle()
