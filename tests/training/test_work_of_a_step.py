"""What the loop does in a step beside the run of its program, by the number of calls: times depend on the machine."""

from __future__ import annotations

import sys
from collections import Counter

import pytest
from support.configs import CNN, loader

from ppema.programs.executor import Executor
from ppema.training.course import Course
from ppema.training.loop import train

# Measured: 93, and 148 before the loop was trimmed.
MOST_CALLS = 105
FIRST, LAST = 3, 10


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """The functions that the steps FIRST to LAST of a run call, with numbers. Of no step is anything due."""
    found, steps, run, go_on = Counter(), 0, Executor.run, Course.go_on

    def count(frame, event, argument):
        if event in ("call", "c_call") and frame.f_globals["__name__"] != __name__:
            name = frame.f_code.co_name if event == "call" else argument.__qualname__
            found[f"{frame.f_globals['__name__']}: {name}"] += 1

    def uncounted(self, *given):
        before = sys.getprofile()
        sys.setprofile(None)
        try:
            return run(self, *given)
        finally:
            sys.setprofile(before)

    def counted(self, batch):
        nonlocal steps
        steps += 1
        if steps == FIRST:
            sys.setprofile(count)
        if steps == LAST + 1:
            sys.setprofile(None)
        return go_on(self, batch)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Executor, "run", uncounted)
        patched.setattr(Course, "go_on", counted)
        end = "100 %"
        patches = ["data.train.samples=120", *(f"train.{each}_every={end}" for each in ("log", "eval", "save"))]
        try:
            train(loader(tmp_path_factory.mktemp("run"), CNN)(*patches))
        finally:
            sys.setprofile(None)
    assert steps > LAST
    return {name: number / (LAST + 1 - FIRST) for name, number in found.items()}


def test_a_step_takes_few_calls(calls):
    assert 0 < sum(calls.values()) <= MOST_CALLS, calls


def test_nothing_of_a_step_without_events_looks_for_them_one_by_one(calls):
    for event in ("_log_interval", "_evaluate", "_judge", "_snapshot"):
        assert f"ppema.training.course: {event}" not in calls
    assert calls["ppema.training.course: _save"] == 1


def test_the_batches_of_one_process_are_not_divided(calls):
    assert "ppema.data.order: share_of" not in calls
    assert not [name for name in calls if name.endswith("known")]
