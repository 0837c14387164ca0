"""The process of a rank, as the other processes of the same machine see it."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# Of /proc/PID/stat, after the name: see proc(5).
_STATE, _BEGUN, _CODE = 0, 19, 49


@dataclass(frozen=True)
class Neighbour:
    """The process of a rank. host: of its machine; begun: the time of its start, in clock ticks of that machine."""

    host: str
    pid: int
    begun: str

    @classmethod
    def here(cls) -> Neighbour:
        """This process."""
        return cls(_machine(), os.getpid(), _stat(os.getpid())[_BEGUN])

    @property
    def near(self) -> bool:
        """Whether it is on this machine, and its process id is known here."""
        return self.host == _machine()

    def ended(self) -> str | None:
        """How it ended, in words; None while it lives. It must be `near`."""
        fields = _stat(self.pid)
        if fields[_BEGUN] == self.begun and fields[_STATE] not in "ZX":
            return None
        if fields[_BEGUN] != self.begun or not fields[_CODE].isdecimal():
            return "ended or was killed"
        status = int(fields[_CODE])
        if status & 0x7F:
            with suppress(ValueError):
                return f"was killed by {signal.Signals(status & 0x7F).name}"
            return f"was killed by signal {status & 0x7F}"
        return f"ended with exit code {status >> 8}"

    def stopped(self) -> bool:
        """Whether a signal such as SIGSTOP suspends it. It must be `near`."""
        fields = _stat(self.pid)
        return fields[_BEGUN] == self.begun and fields[_STATE] in "Tt"

    def kill(self) -> None:
        """End it by SIGKILL, which reaches a stopped process too. It must be `near`."""
        if _stat(self.pid)[_BEGUN] == self.begun:
            with suppress(OSError):
                os.kill(self.pid, signal.SIGKILL)


def _machine() -> str:
    """The name of this machine, and of the name space of its process ids: containers of one machine have several."""
    space = ""
    with suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")
    return f"{socket.gethostname()} {space}".strip()


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name; empty ones without such a process."""
    fields: list[str] = []
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return [*fields, *[""] * (_CODE + 1 - len(fields))]
