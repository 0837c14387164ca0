"""Checkpoints on a failing disk: after any failed call, earlier checkpoints are intact, and a named one is durable."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from support.checkpoints import RAW, checkpoints_in, names, save

from ppema.errors import TrainingError

CALLS = ("open", "write", "fsync", "mkdir", "rename", "replace")


@pytest.fixture
def checkpoints(tmp_path):
    return checkpoints_in(tmp_path)


@contextmanager
def failing(number: int, code: int) -> Iterator[list[str]]:
    """Let the `number`-th call of CALLS from now on, and every later write, fail as on a full disk."""
    made: list[str] = []

    def wrapped(name, call):
        def fail_or(*args, **kwargs):
            made.append(name)
            if len(made) == number or (len(made) > number and name == "write"):
                raise OSError(code, os.strerror(code))
            return call(*args, **kwargs)

        return fail_or

    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, wrapped(name, getattr(os, name)))
        yield made


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_whichever_call_fails_the_newest_earlier_one_loads(checkpoints, code):
    """Each call of a save fails in turn. The step is then unsaved, or complete if its folder has its name."""
    save(checkpoints, 1, "best")
    with failing(10**9, code) as all_calls:
        save(checkpoints, 2)
    calls = len(all_calls)
    assert calls > 20
    for number in range(1, calls + 1):
        step = 2 + number
        before = checkpoints.newest_intact()[0].step
        with failing(number, code), pytest.raises(TrainingError) as caught:
            save(checkpoints, step, "best" if number % 2 else "best-raw-loss")
        assert "could not be" in str(caught.value) and os.strerror(code) in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1
        newest, skipped = checkpoints.newest_intact()
        assert newest.step in (before, step) and skipped == []
        assert checkpoints.find("last").step <= newest.step
        assert checkpoints.find("best").step <= newest.step
        assert np.array_equal(newest.arrays("raw")["w"], RAW["w"] * newest.step)
        assert not list(checkpoints.folder.glob(".*")), "nothing half-written is left"


FILL = """
import resource, sys, signal
sys.path[:0] = {path!r}
from support.checkpoints import checkpoints_in, names, save
from ppema.checkpoint.store import Checkpoints
checkpoints = Checkpoints(__import__("pathlib").Path({folder!r}), keep=9)
for limit in range(0, {most}, 64):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        save(checkpoints, 2 + limit)
    except Exception as error:
        assert type(error).__name__ == "TrainingError", error
"""


def test_a_system_that_refuses_to_write_more_costs_nothing(checkpoints):
    """A limit of the kernel cuts every write short, at each length in turn, until everything fits."""
    size = max(file.stat().st_size for file in save(checkpoints, 1).iterdir())
    paths = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    script = FILL.format(path=paths, folder=str(checkpoints.folder), most=size + 128)
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
    there = [path.name for path in checkpoints.folder.glob("step-*")]
    assert "step-00000001" in there and len(there) in (2, 3), "the first, and those that fitted"
    found, skipped = checkpoints.newest_intact()
    assert skipped == [] and found.step > size
    assert checkpoints.find("last").step == found.step


def test_an_interrupted_write_leaves_no_half_folder(checkpoints, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(checkpoints, 1)
    assert names(checkpoints.folder) == []


def test_a_removed_run_folder_does_not_come_back(checkpoints):
    save(checkpoints, 1)
    for path in sorted(checkpoints.folder.parent.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    checkpoints.folder.parent.rmdir()
    with pytest.raises(TrainingError, match="step-00000002: the checkpoint could not be written: .*No such file"):
        save(checkpoints, 2)
    assert not checkpoints.folder.parent.exists()


def test_everything_is_synced_before_it_is_named(checkpoints, monkeypatch):
    """A name is written after its target, against power cuts: files, their folder, the folder's new name, then the pointer."""
    events: list[str] = []
    opened: dict[int, str] = {}
    real = {name: getattr(os, name) for name in ("open", "fsync", "rename", "replace")}

    def spy_open(path, *args, **kwargs):
        handle = real["open"](path, *args, **kwargs)
        opened[handle] = Path(path).name
        return handle

    def short(path):
        name = Path(path).name
        return name.rpartition(".")[0] if name.startswith(".") else name

    monkeypatch.setattr(os, "open", spy_open)
    monkeypatch.setattr(os, "fsync", lambda handle: (events.append(f"sync {short(opened[handle])}"), real["fsync"](handle)))
    for name in ("rename", "replace"):
        monkeypatch.setattr(os, name, lambda a, b, call=real[name]: (events.append(f"name {short(b)}"), call(a, b)))
    save(checkpoints, 1, "best")
    assert events == [
        "sync run",
        *("sync raw.safetensors", "sync average-ema.safetensors", "sync manifest.json", "sync .step-00000001"),
        *("name step-00000001", "sync checkpoints"),
        *("sync .best", "name best", "sync checkpoints"),
        *("sync .last", "name last", "sync checkpoints"),
    ]
