"""After a fault of another rank, a run whose data is slow ends soon."""

from __future__ import annotations

import threading
import time

import pytest
from support.configs import loader
from support.datasets import Images

from ppema.distributed.world import World
from ppema.errors import PeerError
from ppema.training.course import Course
from ppema.training.loop import train


def test_no_sample_is_waited_for(tmp_path, monkeypatch):
    item_of, read, entered = Images.__getitem__, threading.Event(), {}

    def item(self, index):
        if entered and index >= 16:
            read.wait(10)
        return item_of(self, index)

    def enter(self, activity, sort="alone"):
        entered[activity] = time.monotonic()
        if activity == "reading data for step 2":
            raise PeerError("rank 1 was killed", 1)

    monkeypatch.setattr(Images, "__getitem__", item)
    monkeypatch.setattr(World, "enter", enter)
    monkeypatch.setattr(Course, "break_off", lambda self, error: None)
    data = "data.train={name: support.datasets.Images, batch_size: 8, shuffle: false}"
    with pytest.raises(PeerError, match="rank 1 was killed"):
        train(loader(tmp_path)(data))
    seconds = time.monotonic() - entered["reading data for step 2"]
    read.set()
    assert seconds < 4
