"""Durable writes: the system calls and their order, and the files after a failure."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from ppema.checkpoint.durable import NewFile, open_own, replace_file, write_file


def partial_of(file: Path) -> Path:
    return file.with_name(f".{file.name}.{os.getpid()}")


def test_the_disk_has_the_bytes_before_the_name_and_the_name_before_the_return(tmp_path, monkeypatch):
    """After a power cut between any two of the calls, the file is the complete old or the complete new one."""
    file, calls = tmp_path / "pointer", []
    file.write_bytes(b"old")
    fsync, replace = os.fsync, os.replace

    def noted_fsync(handle):
        calls.append(("fsync", Path(os.readlink(f"/proc/self/fd/{handle}"))))
        fsync(handle)

    def noted_replace(source, target):
        calls.append(("replace", target))
        assert Path(source).read_bytes() == b"new \0\0\1\0"
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    replace_file(file, b"new ", np.arange(2, dtype="<i2"))
    assert file.read_bytes() == b"new \0\0\1\0"
    assert calls == [("fsync", partial_of(file)), ("replace", file), ("fsync", tmp_path)]
    assert os.listdir(tmp_path) == ["pointer"]


def test_a_system_that_takes_few_bytes_at_a_time_gets_all_of_them(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, content: write(handle, content[:3]))
    values = np.arange(6, dtype="float32").reshape(2, 3)
    write_file(tmp_path / "x", b"", b"abcdefgh", values, np.zeros((0, 4)), np.array(7, "int64"))
    assert (tmp_path / "x").read_bytes() == b"abcdefgh" + values.tobytes() + (7).to_bytes(8, "little")


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
def test_what_fails_before_the_new_file_is_whole_leaves_the_old_one_alone(tmp_path, monkeypatch, call, error):
    file = tmp_path / "pointer"
    file.write_bytes(b"old")

    def fail(*args):
        raise error

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(type(error)):
        replace_file(file, b"new")
    assert os.listdir(tmp_path) == ["pointer"] and file.read_bytes() == b"old"


def test_what_a_killed_process_of_the_same_number_left_is_not_in_the_way(tmp_path):
    file = tmp_path / "pointer"
    partial_of(file).write_bytes(b"half of something long")
    replace_file(file, b"new")
    assert os.listdir(tmp_path) == ["pointer"] and file.read_bytes() == b"new"


def test_a_new_file_is_new(tmp_path):
    (tmp_path / "x").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        NewFile(tmp_path / "x")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError):
        NewFile(tmp_path / "link")
    assert (tmp_path / "x").read_bytes() == b"mine" and not (tmp_path / "nowhere").exists()


def test_nothing_is_written_through_a_link(tmp_path):
    (tmp_path / "other").write_bytes(b"mine")
    (tmp_path / "log.txt").symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="it is a link, which a run does not write through: remove it: .*log.txt"):
        open_own(tmp_path / "log.txt", os.O_WRONLY | os.O_TRUNC)
    assert (tmp_path / "other").read_bytes() == b"mine"
    os.close(open_own(tmp_path / "other", os.O_WRONLY))
    assert (tmp_path / "other").read_bytes() == b"mine"
