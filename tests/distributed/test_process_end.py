"""The end of a rank's process after a fault of another one."""

from __future__ import annotations

import sys

from ppema.distributed import process_end
from ppema.distributed.process_end import ProcessEnd


def test_a_stream_that_can_not_be_flushed_does_not_prevent_the_end(monkeypatch):
    codes, flushed = [], []

    class Full:
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    class Stream:
        def flush(self) -> None:
            flushed.append(True)

    monkeypatch.setattr(process_end.os, "_exit", codes.append)
    monkeypatch.setattr(sys, "stdout", Full())
    monkeypatch.setattr(sys, "stderr", Stream())
    ProcessEnd.at_once(ProcessEnd.__new__(ProcessEnd), 3)
    assert codes == [3] and flushed
