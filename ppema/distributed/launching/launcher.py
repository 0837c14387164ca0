"""Runs Paddle's launcher, shows the output of rank 0, and finds how the ranks of this machine ended. No process outlives it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from ppema.ranks import ENDS, NotedEnd, noted_ends

_PARENT_DIED, _SUBREAPER = 1, 36  # of prctl, see prctl(2)
_STOPS = {130: signal.SIGINT, 143: signal.SIGTERM}  # exit codes of ranks that a signal stopped
_LOOK = 0.1  # seconds
_NO_DEVICE = "--devices: Paddle finds no device on this machine: start processes on CPUs with --nproc_per_node"
_LEFT = 60.0  # seconds that ranks have to save and end, after the launcher has ended


@dataclass(frozen=True)
class End:
    """The end of a job on this machine. code: exit code. stopped: whether a signal ended it. line: the fault, if any."""

    code: int
    stopped: bool = False
    line: str = ""


class Launcher:
    """Paddle's launcher with its arguments, `argv`. logs: the folder of logs that they name, see `log_folder`.

    variables: of the environment, for the ranks. debug: show all that it writes on stderr, such as its requests to other
    machines. Otherwise an error of it is one line.
    """

    def __init__(self, argv: list[str], logs: Path, variables: Mapping[str, str] | None = None, *, debug: bool = False):
        self._argv, self._logs, self._variables, self._debug = argv, logs, dict(variables or {}), debug
        self._asked: int | None = None

    def run(self) -> End:
        """Run the job to its end. SIGTERM and SIGINT reach all ranks as SIGTERM, after which they save and stop."""
        prctl = ctypes.CDLL(None).prctl
        prctl(_SUBREAPER, 1, 0, 0, 0)  # ranks whose launcher was killed become children of this process

        def prepare() -> None:
            prctl(_PARENT_DIED, signal.SIGTERM, 0, 0, 0)

        # It imports Paddle, which warns of a tool for compiling extensions that nothing here uses.
        command = [sys.executable, "-W", "ignore:No ccache found", "-m", "paddle.distributed.launch", *self._argv]
        with TemporaryDirectory(prefix="ppema-launch-") as ends, _shown(self._logs / "workerlog.0"):
            process = subprocess.Popen(
                command,
                env={**os.environ, **self._variables, ENDS: ends},
                stdout=subprocess.DEVNULL,  # a second copy of what rank 0 writes
                stderr=None if self._debug else subprocess.PIPE,
                start_new_session=True,  # Ctrl-C of a terminal reaches it from here alone
                preexec_fn=prepare,
            )
            said = _Said(process)
            with self._forwarding(process):
                code = process.wait()
                _reap()
            return self._end(code, noted_ends(Path(ends)), said.error())

    @contextlib.contextmanager
    def _forwarding(self, process: subprocess.Popen[bytes]) -> Iterator[None]:
        """In this block, signals that ask this process to end are passed on."""

        def forward(number: int, frame: object) -> None:
            self._asked = number
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)

        before = {number: signal.signal(number, forward) for number in _STOPS.values()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _end(self, code: int, ends: Sequence[NotedEnd], error: str = "") -> End:
        """error: of the launcher itself, in one line, if it had one."""
        codes, asked = [each.code for each in ends], self._asked
        if code == 0:
            return End(0)
        # A rank may have failed after the signal, for example while it saved.
        if asked is not None and all(each in (None, 0, *_STOPS) for each in codes):
            return End(128 + asked, stopped=True)
        if not codes:  # the launcher refused its arguments, or the script is not one of ppema's
            return End(2 if code == 2 or error == _NO_DEVICE else 1, line=error)
        if code > 0 and all(each in (0, *_STOPS) for each in codes):
            return End(max(each or 0 for each in codes), stopped=True)
        return End(2 if 2 in codes else 1, stopped=asked is not None, line=self._line(ends))

    def _line(self, ends: Sequence[NotedEnd]) -> str:
        """The line about the fault, unless the rank whose output is shown has written it."""
        shown = any(each.local_rank == 0 and each.code is not None for each in ends)
        line = next((each.line for each in ends if each.line), "")
        if line:
            return "" if shown else line
        # The job ended before the ranks watched each other, or after that.
        failed = next((each for each in ends if each.code not in (None, 0, *_STOPS)), None)
        if failed is not None:
            log = self._logs / f"workerlog.{failed.local_rank}"
            return "" if failed.local_rank == 0 else f"rank {failed.rank} ended with exit code {failed.code}: see {log}"
        killed = " or ".join(str(each.rank) for each in ends if each.code is None)  # Paddle's launcher kills all after one
        return f"rank {killed} was killed, perhaps for lack of memory: see the logs in {self._logs}" if killed else ""


class _Said:
    """What Paddle's launcher writes on stderr: the last lines of it."""

    def __init__(self, process: subprocess.Popen[bytes]):
        self._lines: deque[str] = deque(maxlen=100)
        self._thread = threading.Thread(target=self._read, args=(process.stderr,), name="ppema-launcher", daemon=True)
        self._thread.start()

    def _read(self, stream: BinaryIO | None) -> None:
        for line in stream or ():
            self._lines.append(line.decode(errors="replace").rstrip())

    def error(self) -> str:
        """The last line of a traceback, or of a refusal of arguments, in words; "" without any. Paddle's launcher has ended."""
        self._thread.join(1.0)
        found = [line for line in self._lines if line.strip()]
        if found and found[-1] == "ValueError: substring not found":  # it looks for the number of a device in ""
            return _NO_DEVICE
        failed = any(line.startswith(("Traceback ", "usage: ")) for line in found)
        return f"Paddle's launcher failed: {found[-1]}; --debug shows the whole error" if failed else ""


def _reap() -> None:
    """Wait for the ranks that outlive their launcher, and for processes of theirs; kill what does not end."""
    end = time.monotonic() + _LEFT
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                if time.monotonic() > end:
                    for each in _children():
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(each, signal.SIGKILL)
                time.sleep(_LOOK)


def _children() -> list[int]:
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    return [int(each) for each in path.read_text(encoding="utf-8").split()] if path.exists() else []


@contextlib.contextmanager
def _shown(path: Path) -> Iterator[None]:
    """In this block, what is appended to `path` is shown on stdout."""
    ended = threading.Event()
    begin = path.stat().st_size if path.exists() else 0

    def show() -> None:
        file: BinaryIO | None = None
        while True:
            last = ended.wait(_LOOK)
            if file is None and path.exists():
                file = open(path, "rb")  # noqa: SIM115
                file.seek(begin)
            if file is not None and (new := file.read()):
                with contextlib.suppress(OSError):
                    sys.stdout.buffer.write(new)
                    sys.stdout.flush()
            if last:
                if file is not None:
                    file.close()
                return

    thread = threading.Thread(target=show, name="ppema-rank-0", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
