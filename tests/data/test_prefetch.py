"""The background thread: its order, its errors and its end."""

import gc
import threading
import time

import pytest

from ppema.data.prefetch import GivenUp, Handover, prefetch


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "ppema-prefetch"]


def counting(log, limit=10**9, error=None):
    def make():
        for number in range(limit):
            log.append(number)
            yield number
        if error is not None:
            raise error

    return make


def settled(condition):
    deadline = time.monotonic() + 5
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return condition()


def test_order_and_end():
    assert list(prefetch(counting([], 50), Handover())) == list(range(50))
    assert threads() == []


def test_items_are_made_ahead_but_not_without_end():
    log = []
    items = prefetch(counting(log), Handover(2))
    assert next(items) == 0
    assert settled(lambda: len(log) == 4)  # one taken, two waiting, one in the making
    time.sleep(0.05)
    assert len(log) == 4
    items.close()
    assert threads() == []


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(3)])
def test_errors_come_after_the_items_before_them(error):
    items = prefetch(counting([], 3, error), Handover())
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(type(error)):
        next(items)
    assert threads() == []
    with pytest.raises(StopIteration):
        next(items)


def test_a_consumer_that_stops_or_raises():
    for item in prefetch(counting([]), Handover()):
        if item == 3:
            break
    del item
    gc.collect()
    assert threads() == []

    def fail():
        for _ in prefetch(counting([]), Handover()):
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        fail()
    gc.collect()
    assert threads() == []


def test_an_iterator_in_a_cycle_is_collected():
    cycle = [prefetch(counting([]), Handover())]
    cycle.append(cycle)
    next(cycle[0])
    assert len(threads()) == 1
    del cycle
    gc.collect()
    assert threads() == []


def test_nothing_starts_before_the_first_item_is_wanted():
    log = []
    items = prefetch(counting(log), Handover())
    assert threads() == []
    items.close()
    assert log == []


def test_an_item_that_does_not_come_is_given_up_at_a_stop():
    free, began = threading.Event(), time.monotonic()
    try:
        with pytest.raises(GivenUp):
            next(prefetch(lambda: iter([free.wait(30)]), Handover(), lambda: True))
        assert time.monotonic() - began < 3
    finally:
        free.set()
    assert settled(lambda: threads() == [])


def test_a_handover_closed_from_elsewhere_is_no_silent_end():
    handover = Handover()
    items = prefetch(counting([]), handover)
    next(items)
    handover.close()
    with pytest.raises(RuntimeError, match="this epoch is over"):
        next(items)
    assert threads() == []


def test_an_abandoned_thread_is_not_waited_for():
    read = threading.Event()

    def make():
        yield 0
        read.wait(4)
        yield 1

    handover = Handover()
    items = prefetch(make, handover)
    assert next(items) == 0
    begin = time.monotonic()
    handover.abandon()
    items.close()
    assert time.monotonic() - begin < 2
    read.set()
    assert settled(lambda: threads() == [])
