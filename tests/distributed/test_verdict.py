"""Which rank is at fault, by what is known of each."""

from __future__ import annotations

from ppema.distributed.rank_activity import Activity
from ppema.distributed.verdict import Sighting, absent, gone, hanging, mute

READING = Activity(8, "alone", "reading data for step 12")
RUNNING = Activity(9, "together", "running step 12")
LOST = Activity(10, "lost", "running step 12")
SAVING = Activity(7, "slow", "saving")
WAITING = Activity(7, "waiting", "waiting for the others before the evaluation")
LEFT = Activity(7, "left", "leaving")


def line(verdict) -> str | None:
    return None if verdict is None else verdict.line


def test_a_process_that_ended():
    killed = Sighting(1, READING, 0.1, 0.1, ended="was killed by SIGKILL")
    assert line(gone(SAVING, [killed])) == "rank 1 was killed by SIGKILL while reading data for step 12"
    # The notice of the other rank may be a quarter of a second old. In a step, all ranks are at the same.
    assert line(gone(RUNNING, [killed])) == "rank 1 was killed by SIGKILL while running step 12"
    assert gone(RUNNING, [Sighting(1, LEFT, 0.1, 0.1, ended="ended with exit code 0")]) is None


def test_a_process_without_a_sign_of_life():
    seen = [Sighting(1, READING, 50, 50), Sighting(2, RUNNING, 50, 0.1)]
    assert line(mute(WAITING, seen, 45)) == "rank 1 has not answered for 50 s, while reading data for step 12"
    assert mute(WAITING, seen, 51) is None
    # Slow work may hold the interpreter. A stopped process is seen as such.
    assert mute(WAITING, [Sighting(1, SAVING, 50, 50)], 45) is None
    stopped = Sighting(1, SAVING, 50, 50, stopped=True)
    assert line(mute(WAITING, [stopped], 45)) == "rank 1 was stopped by a signal 50 s ago, while saving"


def test_who_did_not_join_a_failed_run():
    def found(lost, *activities, since=30.0):
        return line(absent(LOST, lost, [Sighting(rank, each, since, 0.1) for rank, each in enumerate(activities, 1)]))

    reading, running = "hangs: 30 s of reading data for step 12", "hangs: 30 s of running step 12"
    others = "while the others were running step 12"
    assert found(1, READING) is None
    assert found(4, READING) == f"rank 1 {reading}, {others}"
    # The rank with work of its own is at fault, and not those that wait, whose run has not failed yet.
    assert found(4, RUNNING, READING, WAITING) == f"rank 2 {reading}, {others}"
    assert found(4, RUNNING, WAITING) == f"rank 1 {running}, {others}"
    # Of two that have not given up yet, one may do so soon.
    assert found(4, RUNNING, RUNNING) is None
    assert found(9, RUNNING, RUNNING) == f"rank 1 {running}; rank 2 {running}, {others}"
    assert found(4, RUNNING, since=1) is None  # it goes on
    assert found(4, LEFT) == "rank 1 had left the job before the others were running step 12"
    assert found(4, LOST) == "the connection to rank 1 broke while running step 12"


def test_a_rank_without_progress():
    def found(*activities, since=45.0):
        return line(hanging([Sighting(rank, each, since, 0.1) for rank, each in enumerate(activities)], 45))

    hangs, limit = "hangs: 45 s of", "longer than runtime.rank_patience (45 s)"
    assert found(WAITING, READING) == f"rank 1 {hangs} reading data for step 12, {limit}"
    assert found(RUNNING, READING, WAITING) == f"rank 1 {hangs} reading data for step 12, {limit}"
    assert found(WAITING, READING, since=44.0) is None
    assert found(SAVING, READING) is None  # the others may wait for slow work
    assert found(RUNNING, WAITING) == f"rank 0 {hangs} running step 12, {limit}"
    assert found(LEFT, WAITING) == f"rank 1 {hangs} waiting for the others before the evaluation, {limit}"
