"""Checks in another process: one that crashes there, or hangs, is a finding, and ends nothing else."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterable
from contextlib import suppress
from pathlib import Path

import ppema
from ppema.diagnosis.checklist import Check
from ppema.diagnosis.finding import Finding
from ppema.diagnosis.last_words import last_words
from ppema.experiments.sweeps import orphans


def python_with_ppema(code: str) -> list[str]:
    """A command that runs `code` with this process's Python, import path and ppema."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(ppema.__file__)))
    return [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r}); import ppema; sys.path[:] = {sys.path!r}; {code}"]


def examined(checks: Iterable[Check], device: str, folder: Path, *, show: bool = False) -> Generator[tuple[Check, Finding]]:
    """The finding of each check, in their order. A process does them until one fails; a new one does the others.

    device: "auto", "cpu", "gpu" or "gpu:N". folder: an empty one for temporary files, which is the working directory of the
    checks. show: the output of the checks goes to stderr.
    """
    failed: set[str] = set()
    process: ExaminerProcess | None = None
    try:
        for check in checks:
            lacking = [name for name in check.needs if name in failed]
            if lacking:
                yield check, Finding("skipped", f"because {lacking[0]!r} failed")
                continue
            if process is None:
                process = ExaminerProcess(device, folder, show=show)
            finding = process.examine(check)
            if finding.result == "failed":
                failed.add(check.name)
                # Its state is no longer that of a sound process: a fault of a GPU spoils all that follows.
                process.end()
                process = None
            yield check, finding
    finally:
        if process is not None:
            process.end()


class ExaminerProcess:
    """The process of `ppema.diagnosis.examiner`, and the output of what it does."""

    def __init__(self, device: str, folder: Path, *, show: bool = False):
        self._output = folder / "output.txt"
        self._show = show
        self._answers, answers = os.pipe()
        # Within a job of the launcher, this process is no rank of it.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PADDLE_")}
        environment |= {"TMPDIR": str(folder), **_cache(folder)}
        code = f"from ppema.diagnosis.examiner import examine; examine({device!r}, {answers})"
        try:
            with open(self._output, "wb") as output:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", orphans.__file__, str(os.getpid()), *python_with_ppema(code)],
                    cwd=folder,
                    env=environment,
                    bufsize=0,
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=output,
                    pass_fds=[answers],
                    start_new_session=True,
                )
        except BaseException:
            os.close(self._answers)
            raise
        finally:
            os.close(answers)

    def examine(self, check: Check) -> Finding:
        """The finding of `check`; a crash, and the end of its time, are findings too."""
        begin = self._output.stat().st_size
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{check.function}\n".encode())
        except BrokenPipeError:
            return Finding("failed", self._crash(begin))
        answer = self._answer(time.monotonic() + check.seconds)
        if self._show:
            print(self._said(begin), end="", file=sys.stderr, flush=True)
        if answer is None:
            return Finding("failed", f"it did not end within {check.seconds:.0f} s{last_words(self._said(begin))}")
        return Finding(**json.loads(answer)) if answer else Finding("failed", self._crash(begin))

    def end(self) -> None:
        """End the process, and those that it started, at once."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        os.close(self._answers)

    def _answer(self, end: float) -> bytes | None:
        """The next line; b"" if the process has ended, None if it is late."""
        line = b""
        while not line.endswith(b"\n"):
            if not select.select([self._answers], [], [], max(0.0, end - time.monotonic()))[0]:
                return None
            piece = os.read(self._answers, 65536)
            if not piece:
                return b""
            line += piece
        return line

    def _crash(self, begin: int) -> str:
        code = self._process.wait()
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return f"the process ended {how}{last_words(self._said(begin))}"

    def _said(self, begin: int) -> str:
        """The output since `begin`, in bytes."""
        with open(self._output, "rb") as output:
            output.seek(begin)
            return output.read().decode(errors="replace")


def _cache(folder: Path) -> dict[str, str]:
    """The variable that moves the user's cache to `folder`, if it can not be written to: C++ operations are built once."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "ppema"
    with suppress(OSError):
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.access(cache, os.W_OK):
            return {}
    return {"XDG_CACHE_HOME": str(folder / "cache")}
