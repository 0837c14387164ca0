"""How a rank learns of the faults of others, and how its process then ends. The ranks are threads with one table as store."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, current_thread

import pytest
from support.rank_tables import Lookouts, SharedTable, in_thread

from ppema.distributed import judge, process_end, verdict
from ppema.distributed import lookout as lookouts
from ppema.distributed.lookout import Lookout
from ppema.distributed.meetings import Meetings
from ppema.distributed.neighbour import Neighbour
from ppema.distributed.noticeboard import Noticeboard
from ppema.distributed.process_end import ProcessEnd
from ppema.distributed.shared_work import SharedWork
from ppema.distributed.world import World
from ppema.errors import DivergedError, PeerError
from ppema.ranks import Ranks


@pytest.fixture
def ends(monkeypatch) -> list[int]:
    """The exit codes of processes that would have ended at once."""
    codes: list[int] = []
    monkeypatch.setattr(ProcessEnd, "at_once", lambda self, code: codes.append(code))
    monkeypatch.setattr(lookouts, "_GRACE", 0.3)
    return codes


@pytest.fixture
def at_exit(monkeypatch) -> list:
    """What is registered for the end of the process."""
    found: list = []
    monkeypatch.setattr(process_end.atexit, "register", found.append)
    monkeypatch.setattr(process_end.atexit, "unregister", lambda each: each in found and found.remove(each))
    return found


@pytest.fixture
def lookout(ends, at_exit) -> Iterator[Lookouts]:
    """Makes the lookout of a rank."""
    made = Lookouts()
    yield made
    made.end()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def until(ends: list[int]) -> None:
    """Wait until a process would have ended."""
    limit = time.monotonic() + 20
    while not ends and time.monotonic() < limit:
        time.sleep(0.05)


def neighbour(process: subprocess.Popen) -> Neighbour:
    """`process`, as a rank of this machine."""
    begun = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19]
    return Neighbour(Neighbour.here().host, process.pid, begun)


def test_ranks_at_different_meetings_learn_of_it():
    table = SharedTable()

    def meet(rank: int, *what: str) -> list:
        meetings = Meetings(table.folder("run"), Ranks(rank, 3))
        return [meetings.meet(each, lambda: None) for each in what]

    others = [
        in_thread(lambda: meet(0, "step 1", "saving", "step 2")),
        in_thread(lambda: meet(1, "step 1", "saving", "step 2")),
    ]
    assert meet(2, "step 1", "an evaluation", "step 2") == [None, (0, "saving"), None]
    assert [each.result() for each in others] == [[None] * 3, [None, (2, "an evaluation"), None]]


def test_a_job_whose_ranks_meet_for_different_things_ends_with_one_line(lookout, capfd):
    table = SharedTable()

    def other() -> None:
        lookout(table, 1).meet("step 3")

    thread = in_thread(other)
    with pytest.raises(PeerError, match=r"the ranks do different things: rank \d is before .*, rank \d before ") as raised:
        lookout(table, 0).meet("the evaluation")
    assert str(thread.exception()) == str(raised.value)
    for text in ("before step 3", "before the evaluation"):
        assert text in str(raised.value)
    assert capfd.readouterr().err == f"{raised.value}\n" * 2  # one for each rank


def test_the_script_has_its_own_signals_and_end_again_after_a_run(lookout, at_exit):
    for run in range(2):
        table = SharedTable()
        other = in_thread(lambda table=table, run=run: lookout(table, 1, run=run).close())
        here = lookout(table, 0, run=run)
        assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL and at_exit
        here.close()
        other.result()
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL and not at_exit


def test_a_handler_of_the_script_stays(lookout):
    table, mine = SharedTable(), lambda number, frame: None
    signal.signal(signal.SIGTERM, mine)
    other = in_thread(lambda: lookout(table, 1).close())
    lookout(table, 0).close()
    other.result()
    assert signal.getsignal(signal.SIGTERM) == mine


def test_ranks_that_fail_alike_may_handle_their_error(lookout, ends, at_exit, capfd):
    table = SharedTable()

    def failing(rank: int, seconds: float) -> None:
        world = World(Ranks(rank, 2), lookout=lookout(table, rank))
        with world.answering():
            world.enter("logging", "slow")
            time.sleep(seconds)  # the other rank learns of the error before it raises the same one
            raise DivergedError("the loss is nan")

    other = in_thread(lambda: failing(1, 0.0))
    with pytest.raises(DivergedError):
        failing(0, 0.8)
    assert isinstance(other.exception(), DivergedError)
    time.sleep(0.8)
    for each in at_exit:
        each()
    assert ends == [] and "rank" not in capfd.readouterr().err


def test_an_error_of_one_rank_ends_the_others(lookout, ends, at_exit):
    table = SharedTable()
    other = in_thread(lambda: lookout(table, 1))
    here = lookout(table, 0)
    other.result().failed("ValueError: a bad sample", 2)
    with pytest.raises(PeerError, match="rank 1 failed while starting: ValueError: a bad sample") as raised:
        here.meet("step 3")
    here.close()
    assert raised.value.exit_code == 2
    for each in at_exit:
        each()
    assert set(ends) == {2}


def test_a_caller_that_needs_no_more_results_is_no_fault():
    calls = []

    class Recorded(Lookout):
        def __init__(self):
            pass

        def failed(self, reason: str, code: int) -> None:
            calls.append("failed")

        def close(self) -> None:
            calls.append("close")

    def results(world):
        with world.answering():
            yield from range(3)

    given = results(World(Ranks(0, 2), lookout=Recorded()))
    assert next(given) == 0
    given.close()
    assert calls == ["close"]


def test_a_rank_that_left_is_not_waited_for(lookout, monkeypatch):
    monkeypatch.setattr(verdict, "_SOON", 0.5)
    table = SharedTable()
    other = in_thread(lambda: lookout(table, 0).close())
    here = lookout(table, 1)
    with pytest.raises(PeerError, match="rank 0 had left the run while the others were waiting for the others before step 3"):
        here.meet("step 3")
    here.close()
    other.result()


def test_of_three_ranks_one_that_left_and_ended_is_no_fault(lookout, monkeypatch, ends, capfd):
    table, process, mine = SharedTable(), subprocess.Popen(["sleep", "60"]), Neighbour.here()
    of_rank_1 = neighbour(process)
    monkeypatch.setattr(Neighbour, "here", lambda: of_rank_1 if current_thread().name == "rank 1" else mine)

    def other(rank: int) -> Lookout:
        current_thread().name = f"rank {rank}"
        return lookout(table, rank, size=3)

    made = [in_thread(lambda rank=rank: other(rank)) for rank in (1, 2)]
    first, second, third = lookout(table, 0, size=3), *(each.result() for each in made)
    third.enter("saving", "slow")
    waiting = in_thread(first.close)
    second.close()
    process.kill()
    process.wait()
    time.sleep(1.0)  # several looks of rank 2
    assert not waiting.done()
    third.enter("ending the run", "slow")
    third.close()
    waiting.result(timeout=5)
    assert ends == [] and capfd.readouterr().err == ""


def test_a_later_run_waits_for_a_rank_while_it_lives(lookout, monkeypatch):
    monkeypatch.setattr(judge, "_ARRIVED", 0.5)
    table, process = SharedTable(), subprocess.Popen(["sleep", "60"])
    before = neighbour(process)
    Noticeboard(table.folder("ppema/job"), table.folder("ppema/0"), 1).introduce(before)  # in a run before
    waiting = in_thread(lambda: lookout(table, 0, run=1))
    time.sleep(1.5)
    assert not waiting.done()
    process.kill()
    assert str(waiting.exception(timeout=10)) in (
        "rank 1 was killed by SIGKILL while at other work",
        "rank 1 ended or was killed while at other work",
    )
    process.wait()


def test_a_rank_that_never_arrives_is_named(lookout, monkeypatch, capfd):
    monkeypatch.setattr(judge, "_ARRIVED", 0.5)
    with pytest.raises(PeerError, match="rank 1 did not arrive within 0 s: it ended, or"):
        lookout(SharedTable(), 0)
    assert capfd.readouterr().err.count("did not arrive") == 1


def test_a_fault_of_another_rank_lets_slow_work_end(lookout, ends):
    table = SharedTable()
    other = in_thread(lambda: lookout(table, 1))
    here = lookout(table, 0)
    here.enter("saving", "slow")
    other.result().failed("ValueError: a bad sample", 1)
    time.sleep(2.2)
    assert ends == []
    with pytest.raises(PeerError):
        here.enter("reading data for step 4", "alone")
    time.sleep(0.5)  # it may save once more, because of the error
    assert ends == []


def test_work_that_hears_of_no_fault_is_ended(lookout, ends):
    table = SharedTable()
    other = in_thread(lambda: lookout(table, 1))
    here = lookout(table, 0, patience=5)
    here.enter("reading data for step 4", "alone")
    other.result().failed("ValueError: a bad sample", 3)
    begin = time.monotonic()
    until(ends)
    assert ends == [3] and time.monotonic() - begin < 4


def test_slow_work_has_a_limit_after_a_fault(lookout, ends):
    table = SharedTable()
    other = in_thread(lambda: lookout(table, 1))
    here = lookout(table, 0, patience=1)
    here.enter("saving", "slow")
    other.result().failed("ValueError: a bad sample", 3)
    until(ends)
    assert ends == [3]


def test_a_rank_that_waits_for_its_first_batch_hangs(lookout, ends):
    table, came = SharedTable(), Event()
    other = in_thread(lambda: lookout(table, 1, patience=1))
    worlds = [World(Ranks(rank, 2), lookout=made) for rank, made in enumerate((lookout(table, 0, patience=1), other.result()))]

    def batches():
        came.wait(20)
        yield 0

    for world in worlds:
        world.enter("logging, evaluating or saving after step 5", "slow")
    reading = in_thread(lambda: list(SharedWork(worlds[1], "the evaluation").each(batches())))
    hangs = r"rank 1 hangs: \d s of reading batch 1 of the evaluation, longer than runtime.rank_patience"
    with pytest.raises(PeerError, match=hangs):
        SharedWork(worlds[0], "the evaluation").gather(bytes)
    came.set()
    reading.exception()


def test_a_full_disk_keeps_no_process_alive(lookout, ends, monkeypatch):
    with open("/dev/full", "wb", buffering=0) as full:
        monkeypatch.setattr(sys, "__stderr__", full)
        table = SharedTable()
        other = in_thread(lambda: lookout(table, 1))
        lookout(table, 0, patience=1).enter("reading data for step 4", "alone")
        other.result().failed("ValueError: a bad sample", 3)
        until(ends)
    assert ends == [3]
