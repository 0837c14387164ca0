"""Paddle's store, through which ranks find each other, and signals that arrive while it is asked."""

from __future__ import annotations

import signal
import socket
import threading
import time

import pytest
from paddle.base import core

from ppema.ir.processes.rank_store import RankStore


@pytest.fixture
def address():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    server = core.TCPStore("127.0.0.1", port, True, 1, 30)
    yield f"127.0.0.1:{port}"
    del server


def test_a_request_to_stop_does_not_break_the_connection(address):
    """Paddle gives up a call whose wait a signal interrupts: "TCP receive error. Details: Interrupted system call"."""
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append(True))
    asking, answering = RankStore(address, 1, "job"), RankStore(address, 1, "job")

    def disturb() -> None:
        time.sleep(0.2)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)
        time.sleep(0.2)
        answering.set("key", "value")

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        assert asking.get("key") == "value"
    finally:
        thread.join()
        signal.signal(signal.SIGTERM, before)
    assert heard == [True]
