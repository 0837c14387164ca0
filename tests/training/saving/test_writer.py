"""Writing in the background: in order, one piece at a time, with no failure lost."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest

from ppema.errors import TrainingError
from ppema.training.saving.writer import BackgroundWriter


def test_pieces_are_written_one_after_the_other_while_the_caller_goes_on():
    done, begun, free = [], threading.Event(), threading.Event()

    def first():
        begun.set()
        free.wait(10)
        done.append(1)

    with BackgroundWriter() as writer:
        writer.submit(first)
        assert begun.wait(10) and done == []
        free.set()
        writer.submit(lambda: done.append(2))
        writer.wait()
        assert done == [1, 2]
        writer.submit(lambda: done.append(3))
    assert done == [1, 2, 3]


def fail(error):
    raise error


def test_a_failure_is_taken_once():
    with BackgroundWriter() as writer:
        writer.submit(lambda: fail(TrainingError("the disk is full")))
        writer.wait()
        assert str(writer.take_failure()) == "the disk is full"
        assert writer.take_failure() is None
        writer.submit(lambda: fail(ZeroDivisionError("a mistake of ours")))
        writer.wait()
        with pytest.raises(ZeroDivisionError):
            writer.take_failure()


def test_a_failure_that_comes_while_one_is_asked_for_is_not_lost():
    class Late(BackgroundWriter):
        """Its write fails between two lines of `take_failure`, right after the first read found no failure."""

        def __getattribute__(self, name):
            value = super().__getattribute__(name)
            if name == "_failure" and value is None:
                self.__dict__[name] = TrainingError("the disk is full")
            return value

    writer = Late()
    assert writer.take_failure() is None
    assert str(writer.take_failure()) == "the disk is full"


def test_an_error_waits_for_the_piece_under_way_and_a_second_ctrl_c_does_not():
    for error, waits in ((TrainingError("x"), True), (KeyboardInterrupt(), False)):
        done, free = [], threading.Event()
        with suppress(type(error)), BackgroundWriter() as writer:
            writer.submit(lambda done=done, free=free: (free.wait(0.5), done.append(1)))
            raise error
        assert bool(done) is waits
        free.set()
