"""Compiles the operations into a library."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import paddle

from ppema.errors import SetupError
from ppema.ir.native.compiler import ROOM, Compiler
from ppema.ir.native.library import name, say

COMPILE_SECONDS = 300.0
PRIVATE = 0o700


def build(folder: Path, key: str, compiler: Compiler, why: str = "") -> Path:
    """Compile the library into `folder` and return its path. Raises SetupError if the compiler fails, and OSError.

    why: reason why only this process uses the library, for the line on stderr. "": it is kept.
    """
    begin = time.perf_counter()
    _sweep(folder)
    # The library is moved to its name when it is complete: this process may be killed, or another may build without a lock.
    with tempfile.TemporaryDirectory(prefix="building-", dir=folder) as place:
        made = Path(place) / "native.so"
        sources = {source: Path(place) / f"{source.stem}.o" for source in sorted(ROOM.glob("*.cc"))}
        with ThreadPoolExecutor(os.cpu_count() or 1) as cores:
            list(cores.map(lambda each: _run(compiler.compiling(*each)), sources.items()))
        _run(compiler.linking(sources.values(), made))
        made.chmod(PRIVATE)
        library = folder / name(key, made)
        os.replace(made, library)
    seconds = time.perf_counter() - begin
    say(f"built its C++ operations for Paddle {paddle.__version__} in {seconds:.0f} s, {why or f'once: {library}'}")
    return library


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise SetupError(f"{command[0]} did not end within {COMPILE_SECONDS:.0f} s") from error
    if done.returncode != 0:
        raise SetupError(f"{command[0]} failed: {_first_error(done.stderr)}")


def _sweep(folder: Path) -> None:
    """Remove the temporary folders of builds whose process was killed."""
    for left in folder.glob("building-*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > 2 * COMPILE_SECONDS:
                shutil.rmtree(left)


def _first_error(output: str) -> str:
    lines = [line for line in output.splitlines() if "error" in line] or output.splitlines()[-1:] or ["without output"]
    return lines[0]
