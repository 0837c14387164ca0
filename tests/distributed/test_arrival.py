"""A rank that waits for one that has ended says so, in place of waiting inside of Paddle."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time

import pytest

from ppema.distributed.launching import arrival
from ppema.distributed.launching.arrival import arrive
from ppema.errors import SetupError
from ppema.ranks import ENDS, Ranks, arrived_ranks, noted_ends

MINE = Ranks(2, 4, 0, 2)  # the first of the second machine


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(ENDS, str(tmp_path))
    monkeypatch.setenv("PADDLE_LOCAL_RANK", "0")
    monkeypatch.setattr(arrival, "_LOOK", 0.1)
    monkeypatch.setattr(arrival, "_DOUBT", 0.5)
    return tmp_path


def neighbour(folder, seconds):
    environment = {**os.environ, ENDS: str(folder), "PADDLE_LOCAL_RANK": "1"}
    return subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({seconds})"], env=environment)


def test_a_rank_that_ended_without_joining_is_named(folder):
    with neighbour(folder, 1) as process:
        begin = time.monotonic()
        with pytest.raises(SetupError, match="^rank 3 ended without joining the others, which wait for it"):
            arrive(MINE)
        assert process.poll() == 0 and time.monotonic() - begin < 15


def test_a_rank_that_lives_is_waited_for_and_those_that_have_arrived_are_not(folder):
    def come():
        (folder / "arrived/1").touch()

    with neighbour(folder, 60) as process:
        threading.Timer(1.5, come).start()
        arrive(MINE)
        process.kill()
    assert arrived_ranks(folder) == {0, 1} and noted_ends(folder) == []
    arrive(MINE)  # the next run of a job: the others need not live


class Clock:
    """Time that passes while the rank sleeps. turn: called at each sleep."""

    def __init__(self, turn=lambda: None):
        self.now, self.turn = 1000.0, turn

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += 500 * seconds
        self.turn()


def test_a_rank_that_runs_without_joining_is_named_and_ends_the_wait(folder, monkeypatch, capfd):
    clock = Clock()
    monkeypatch.setattr(arrival, "time", clock)
    monkeypatch.setattr(arrival, "_living", lambda folder: {0, 1})
    with pytest.raises(SetupError) as caught:
        arrive(MINE)
    assert str(caught.value) == "rank 3 has not joined the others within 15 minutes: call this on all ranks"
    assert capfd.readouterr().err == "rank 3 has not joined the others yet: they wait 15 minutes for it\n"
    assert 1900 < clock.now < 1920


def test_a_folder_that_goes_during_the_wait_ends_it(folder, monkeypatch):
    monkeypatch.setattr(arrival, "time", Clock(lambda: shutil.rmtree(folder)))
    arrive(MINE)


def test_nobody_is_waited_for_without_ppema_launch(monkeypatch):
    monkeypatch.delenv(ENDS, raising=False)
    arrive(MINE)
    monkeypatch.setenv(ENDS, "/no/such/folder")
    arrive(MINE)
