"""Runs each side of a benchmark in a separate process, without the other sides' libraries, flags and threads."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

from benchmarks.measure import side_by_side
from ppema.errors import TrainingError

ROOT = Path(__file__).parents[1]
NO_TORCH = "beside PyTorch nothing is measured: pip install -r requirements-bench.txt"
NO_COMPILER = "beside torch.compile nothing is measured: it needs a C++ compiler, g++ or $CXX"
NO_JAX = "beside JAX nothing is measured: pip install -r requirements-bench.txt"
# OpenMP's threads spin for a while after their last work, Intel's for 200 ms. Until then they would occupy the next side's
# cores. The sides' own policies stay unchanged.
QUIET = 0.25
ROUND_SECONDS = 0.4
MOST_CALLS = 1000


def has_torch() -> bool:
    """Whether PyTorch is installed."""
    return find_spec("torch") is not None


def has_jax() -> bool:
    """Whether JAX and optax are installed."""
    return find_spec("jax") is not None and find_spec("optax") is not None


def has_compiler() -> bool:
    """Whether there is a C++ compiler for `torch.compile`."""
    return shutil.which(os.environ.get("CXX", "g++")) is not None


def command(*arguments: str) -> subprocess.Popen[str]:
    """Start `python arguments` with this checkout on its path. It has its own session, so only the parent gets Ctrl-C."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdin=pipe,
        stdout=pipe,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": path},
    )


class Peer:
    """The work of `builder` ("module:function") in a separate process; a context manager, which ends the process."""

    def __init__(self, builder: str, *arguments: object):
        self._builder = builder
        self._process = command("-m", "benchmarks.child", builder, json.dumps(arguments))

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *exc: object) -> None:
        end(self._process)

    def seconds(self, count: int) -> float:
        """The mean seconds of one call, over `count` calls, after a rest of all processes.

        Raises TrainingError if the process has ended; its stderr shows why.
        """
        time.sleep(QUIET)
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            print(count, file=stdin, flush=True)
            answer = stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise TrainingError(f"the process of {self._builder} ended with {self._process.wait()}")
        return float(answer)


def end(process: subprocess.Popen[str]) -> None:
    """Kill the process and close its pipes."""
    process.kill()
    process.communicate()


def answer(*arguments: str) -> tuple[str, float]:
    """The first line that `python arguments` prints, and the moment of it. Raises TrainingError if it ends without one."""
    process = command(*arguments)
    try:
        assert process.stdout is not None
        said, moment = process.stdout.readline(), time.perf_counter()
        if not said:
            raise TrainingError(f"python {' '.join(arguments)} ended with {process.wait()}")
        return said, moment
    finally:
        end(process)


def compare(rounds: int, *builders: tuple[object, ...]) -> list[tuple[float, ...]]:
    """For each builder the seconds of one call of its work, by round [rounds].

    The builders take turns. All make the same number of calls per round, so that the first takes ROUND_SECONDS. builders: the
    arguments of a Peer. Raises TrainingError.
    """
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(str(name), *arguments)) for name, *arguments in builders]
        for peer in peers:
            peer.seconds(1)
        count = min(max(math.ceil(ROUND_SECONDS / peers[0].seconds(1)), 2), MOST_CALLS)
        return side_by_side(rounds, *map(_turn(count), peers))


def _turn(count: int) -> Callable[[Peer], Callable[[], float]]:
    return lambda peer: lambda: peer.seconds(count)
