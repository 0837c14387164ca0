"""Requests to stop, of which Paddle's launcher sends several for one."""

from __future__ import annotations

import signal
import time

from ppema.training.stop import stop_requests


def test_for_some_seconds_a_repeated_signal_is_one_request(capfd):
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        with stop_requests(repeated=0.3) as request:
            for _ in range(3):
                signal.raise_signal(signal.SIGTERM)
            assert (request.signal, received) == (signal.SIGTERM, [])
            time.sleep(0.4)
            signal.raise_signal(signal.SIGTERM)
            assert received == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
    assert capfd.readouterr().err.count("stopping after SIGTERM") == 1


def test_in_one_process_the_second_signal_has_its_usual_effect():
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        with stop_requests():
            signal.raise_signal(signal.SIGTERM)
            assert received == []
            signal.raise_signal(signal.SIGTERM)
            assert received == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
