"""Files that grow by whole pieces."""

from __future__ import annotations

import errno
import os

import pytest

from ppema.checkpoint.appended import AppendedFile


@pytest.fixture
def file(tmp_path):
    appended = AppendedFile(tmp_path / "a")
    yield appended
    appended.close()


def test_it_goes_on_at_the_end(file, tmp_path):
    file.append(b"one\n")
    other = AppendedFile(tmp_path / "a")
    other.append(b"two\n")
    other.close()
    assert (tmp_path / "a").read_bytes() == b"one\ntwo\n"


@pytest.mark.parametrize("room", [0, 1, 3, 9])
def test_a_full_disk_leaves_no_half_piece_and_loses_none(file, tmp_path, monkeypatch, room):
    """A disk with room for `room` bytes: later writes fail until `room` grows."""
    file.append(b"before\n")
    real, left = os.pwrite, [room]

    def full(handle, content, offset):
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = real(handle, content[: left[0]], offset)
        left[0] -= written
        return written

    monkeypatch.setattr(os, "pwrite", full)
    for piece in (b"a longer line\n", b"another\n"):
        with pytest.raises(OSError, match="No space left"):
            file.append(piece)
        assert (tmp_path / "a").read_bytes() == b"before\n"
        left[0] = room
    left[0] = 1000
    file.append(b"after\n")
    assert (tmp_path / "a").read_bytes() == b"before\na longer line\nanother\nafter\n"
