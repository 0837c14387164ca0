"""The command line of the C++ compiler."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
from pathlib import Path

import paddle
from paddle.base import libpaddle

from ppema.errors import SetupError, one_line

SOURCES = Path(__file__).parent


def command() -> tuple[list[str], str]:
    """The command that compiles the sources into the file named after it, and a key of everything that the result depends on.

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
        "-o",
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
