"""Jobs of several ranks, started by Paddle's own launcher on this machine. None of their processes outlives its test."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.guarded import descendants

ROOT = Path(__file__).parents[2]
LAUNCHER = (sys.executable, "-m", "paddle.distributed.launch")


@dataclass(frozen=True)
class Launched:
    """A job that has ended. code: the exit code of the first launcher that failed, 0 if none did, None if it did not end.

    codes: of all launchers; outputs: stdout and stderr of each rank; terminal: that of the first launcher; seconds: the time
    from the start, or from the last `Job.mark`, until its last process had ended; left: the number of its processes that still
    ran after the timeout, and were killed.
    """

    code: int | None
    codes: tuple[int | None, ...]
    outputs: tuple[str, ...]
    terminal: str
    seconds: float
    left: int


class Job:
    """A job that runs. launchers: their process ids; guard: that of the process above all others of the job."""

    def __init__(self, guard: subprocess.Popen[str], logs: Sequence[Path], ranks: int):
        self._guard, self._logs, self._ranks = guard, tuple(logs), ranks
        self.guard, self.launchers = guard.pid, tuple(self._said())
        self._since = time.monotonic()

    def output(self, rank: int) -> str:
        """What `rank` has written so far."""
        each = self._ranks // len(self._logs)
        path = self._logs[rank // each] / f"workerlog.{rank % each}"
        return path.read_text(errors="replace") if path.exists() else ""

    def terminal(self, launcher: int = 0) -> str:
        """What a launcher has written so far, with the output of its first rank."""
        return (self._logs[launcher].parent / f"{self._logs[launcher].name}.txt").read_text(errors="replace")

    def pid(self, rank: int) -> int:
        """The process id of a rank."""
        for each in descendants(self._guard.pid):
            with contextlib.suppress(OSError):
                parent = int(Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()[1])
                # Processes that a rank starts inherit its variables.
                if _rank_of(each) == rank and _rank_of(parent) is None:
                    return each
        raise ProcessLookupError(f"rank {rank} does not run:\n{self.output(rank)}\n{self.terminal()}")

    def running(self) -> list[int]:
        """The processes of the job that run, launchers included."""
        return descendants(self._guard.pid)

    def wait_for(self, text: str, rank: int = 0, timeout: float = 110.0) -> None:
        """Wait until `rank` has written `text`."""
        end = time.monotonic() + timeout
        while text not in self.output(rank):
            assert self._guard.poll() is None and time.monotonic() < end, (
                f"no {text!r} from rank {rank}:\n{self.output(rank)}\n{self.terminal()}"
            )
            time.sleep(0.02)

    def mark(self) -> None:
        """Count the seconds of `Launched` from here."""
        self._since = time.monotonic()

    def end(self) -> Launched:
        """Wait until all processes of the job have ended, or its time is over."""
        found = self._said()
        seconds = time.monotonic() - self._since
        codes = found["codes"]
        outputs = tuple(self.output(rank) for rank in range(self._ranks))
        code = next((each for each in codes if each != 0), 0)
        return Launched(code, tuple(codes), outputs, self.terminal(), seconds, found["left"])

    def _said(self) -> Any:
        assert self._guard.stdout is not None
        return json.loads(self._guard.stdout.readline())


@contextmanager
def launching(
    ranks: int,
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout: float = 120.0,
    nnodes: int = 1,
    launcher: Sequence[str] = LAUNCHER,
) -> Iterator[Job]:
    """Start `ranks` processes of the script argv[0] in the folder `cwd`, with one thread each, and yield the job.

    nnodes: launchers, as if each were on a machine of its own; argv: the script and its arguments; env: environment variables
    of the ranks besides the few that they get anyway; launcher: the command that takes the launcher's arguments. Every process
    of the job is killed after `timeout` seconds, at the end of the block, or when this process dies.
    """
    assert ranks % nnodes == 0, "each launcher starts the same number of ranks"
    logs = [Path(cwd) / f"launched-{_free_port()}" for _ in range(nnodes)]
    given = ["--nproc_per_node", str(ranks // nnodes), "--host", "127.0.0.1", "--master", f"127.0.0.1:{_free_port()}"]
    commands = []
    for rank, log in enumerate(logs):
        log.mkdir(mode=0o700, parents=True)
        place = ["--nnodes", str(nnodes), "--rank", str(rank)] if nnodes > 1 else []
        commands.append({"argv": [*launcher, *given, *place, "--log_dir", str(log), *argv], "output": f"{log}.txt"})
    bare = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT / 'tests'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    guard = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("guarded.py")), str(timeout), json.dumps(commands)],
        cwd=cwd,
        env={**bare, **(env or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield Job(guard, logs, ranks)
    finally:
        guard.communicate()  # which closes its input


def launch(
    ranks: int,
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout: float = 120.0,
    nnodes: int = 1,
) -> Launched:
    """Run a job to its end. Arguments as for `launching`."""
    with launching(ranks, argv, cwd=cwd, env=env, timeout=timeout, nnodes=nnodes) as job:
        return job.end()


def _rank_of(pid: int) -> int | None:
    """The rank in the environment variables of a process, None without one."""
    variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next((int(each.partition(b"=")[2]) for each in variables if each.startswith(b"PADDLE_TRAINER_ID=")), None)


def _free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]
