"""A connection to Paddle's TCPStore, the table of keys and values that the processes of a job share. Rank 0 serves it."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from paddle.base import core

_OPEN_FILES = Path("/proc/self/fd")


class RankStore:
    """One connection. It serves one request at a time, so that each thread needs one of its own.

    No call has a time limit: where rank 0 is stopped, none returns. A call raises RuntimeError if rank 0 is gone.
    """

    def __init__(self, address: str, ranks: int, folder: str):
        """address: "host:port" of the store, as the launcher's PADDLE_MASTER has it. ranks: their number.

        folder: of the keys; each run of a job has its own.
        """
        host, _, port = address.rpartition(":")
        self._folder = folder
        before = _sockets()
        self._store = core.TCPStore(host, int(port), False, ranks, 30)
        for handle in _sockets() - before:
            _send_at_once(handle)

    def set(self, key: str, value: str) -> None:
        """Set a value. Returns before the store has it."""
        with _gone_is_an_error(), _undisturbed():
            self._store.set(f"{self._folder}/{key}", value)

    def get(self, key: str) -> str:
        """The value of a key. Waits until there is one."""
        with _gone_is_an_error(), _undisturbed():
            return self._store.get(f"{self._folder}/{key}").decode()

    def add(self, key: str, number: int) -> int:
        """Add to a counter, which begins with 0, and return it. A key is either a counter or a value."""
        with _gone_is_an_error(), _undisturbed():
            return self._store.add(f"{self._folder}/{key}", number)


@contextmanager
def _gone_is_an_error() -> Iterator[None]:
    # Depending on the moment, Paddle raises RuntimeError or ValueError for a lost connection.
    try:
        yield
    except ValueError as error:
        raise RuntimeError(str(error)) from error


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let requests to stop wait: Paddle gives up a connection if a signal interrupts it, and does not ask again after EINTR."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _send_at_once(handle: int) -> None:
    # Paddle sends a request in several parts without TCP_NODELAY. Each call then took 44 ms in place of 0.04 ms, because the
    # second part waited for a delayed acknowledgement.
    with suppress(OSError), closing(socket.socket(fileno=os.dup(handle))) as copy:
        copy.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _sockets() -> set[int]:
    """The handles of this process's open sockets; none on a system without /proc."""
    found = set()
    with suppress(OSError):
        for each in _OPEN_FILES.iterdir():
            with suppress(OSError):
                if os.readlink(each).startswith("socket:"):
                    found.add(int(each.name))
    return found
