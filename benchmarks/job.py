"""Runs a side of a benchmark in several processes: ranks under Paddle's launcher, or processes that exchange nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peer import QUIET, ROOT
from ppema.errors import TrainingError

PATIENCE = 0.2  # seconds between two looks at processes that have not connected
ENDING = 20  # seconds in which the processes of a job end by themselves once nobody asks them any more


@dataclass(frozen=True)
class Shape:
    """The processes of a job. ranks: their number; threads: of each; together: whether they are ranks of one training run."""

    ranks: int = 1
    threads: int = 1
    together: bool = True

    @property
    def launched(self) -> bool:
        """Whether Paddle's launcher starts them."""
        return self.together and self.ranks > 1


class _Link:
    """The connection to one process of a job, which the process makes when its work is ready."""

    def __init__(self, link: socket.socket):
        link.settimeout(None)
        self._socket, self._answers = link, link.makefile("r")
        # The process may be the launcher's child, and ended and waited for at any time. Its number then may be another's.
        self._process = os.pidfd_open(int(self._answers.readline()))

    def ask(self, count: int) -> None:
        self._socket.sendall(f"{count}\n".encode())

    def answer(self) -> float:
        return float(self._answers.readline())

    def close(self) -> None:
        self._answers.close()
        self._socket.close()

    def kill(self) -> None:
        """Kill the process if it has not ended."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process, signal.SIGKILL)
        os.close(self._process)


class Job:
    """The work of `builder` ("module:function") in the processes of `shape`. `started` makes one.

    The processes answer as those of `Peer` do. Each of them ends with its connection to this one, even if this one is killed.
    """

    def __init__(self, builder: str, shape: Shape, folder: Path):
        self._builder, self._shape, self._folder = builder, shape, folder
        self._roots: list[subprocess.Popen[bytes]] = []
        self._links: list[_Link] = []

    def start(self, arguments: list[object]) -> None:
        """Start the processes, and wait until their work is ready. Raises TrainingError if one ends before."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(PATIENCE)
            port = str(server.getsockname()[1])
            asked = [sys.executable, "-m", "benchmarks.rank", port, self._builder, json.dumps(arguments)]
            if self._shape.launched:
                launcher = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", str(self._shape.ranks)]
                self._run([*launcher, "--log_dir", str(self._folder), *asked], "launcher")
            else:
                for number in range(self._shape.ranks):
                    self._run(asked, str(number))
            while len(self._links) < self._shape.ranks:
                with suppress(TimeoutError):
                    self._links.append(_Link(server.accept()[0]))
                self._check()

    def seconds(self, count: int) -> float:
        """The mean seconds of one call over `count` calls and over the processes, which all work at the same time.

        All processes rest before. Raises TrainingError if one has ended.
        """
        time.sleep(QUIET)
        try:
            for link in self._links:
                link.ask(count)
            return statistics.fmean(link.answer() for link in self._links)
        except (OSError, ValueError):
            raise TrainingError(f"a process of {self._builder} ended{self._last_words()}") from None

    def end(self) -> None:
        """End all processes. None is left when this returns."""
        for link in self._links:
            link.close()
        deadline = time.monotonic() + (ENDING if len(self._links) == self._shape.ranks else 0)
        for root in self._roots:
            with suppress(subprocess.TimeoutExpired):
                root.wait(max(0.0, deadline - time.monotonic()))
            if root.poll() is None:
                root.terminate()  # the launcher then ends its ranks
                with suppress(subprocess.TimeoutExpired):
                    root.wait(ENDING)
                root.kill()
                root.wait()
        for link in self._links:
            link.kill()

    def _run(self, command: list[str], name: str) -> None:
        """Start a process in its own session, so that only this one gets Ctrl-C. Its output goes to a file."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PADDLE_", "POD_"))}
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        environment = {**inherited, "PYTHONPATH": path, "OMP_NUM_THREADS": str(self._shape.threads)}
        with (self._folder / f"output.{name}").open("wb") as output:
            self._roots.append(
                subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    cwd=self._folder,
                    env=environment,
                )
            )

    def _check(self) -> None:
        for root in self._roots:
            if root.poll() is not None:
                raise TrainingError(f"a process of {self._builder} ended with {root.returncode}{self._last_words()}")

    def _last_words(self) -> str:
        """The last line of each process's output."""
        said = []
        for path in sorted([*self._folder.glob("output.[0-9]*"), *self._folder.glob("workerlog.*")]):
            lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
            said += [f"{path.suffix[1:]}: {line}" for line in [line for line in lines if line.strip()][-1:]]
        return "".join(f"\n  process {line}" for line in said)


@contextmanager
def started(builder: str, shape: Shape, *arguments: object) -> Iterator[Job]:
    """A Job with its processes, which end with the context. Raises TrainingError."""
    with ExitStack() as stack:
        # The launcher writes its environment here: the folder of mkdtemp is private.
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ppema-benchmark-"))
        job = Job(builder, shape, Path(folder))
        stack.callback(job.end)
        job.start(list(arguments))
        yield job
