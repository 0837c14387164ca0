"""Checks in another process: crashes, exceptions and hangs are findings, and the other checks are done all the same."""

from __future__ import annotations

import os
import time

import pytest

from ppema.diagnosis.apart import examined
from ppema.diagnosis.checklist import Check
from ppema.diagnosis.finding import Finding


def check(name: str, *needs: str, seconds: float = 30.0) -> Check:
    return Check(name, f"support.examined.{name}", needs, seconds)


def findings(folder, *checks: Check) -> dict[str, Finding]:
    return {each.name: finding for each, finding in examined(checks, "cpu", folder)}


def test_one_that_fails_ends_no_other(tmp_path):
    failing = ("raises", "aborts", "reads_nowhere", "leaves")
    again = Check("again", "support.examined.passes")
    found = findings(tmp_path, check("passes"), again, *map(check, failing), Check("late", "support.examined.passes"))
    assert {name: finding.result for name, finding in found.items()} == {
        "passes": "ok",
        "again": "ok",
        "late": "ok",
        **dict.fromkeys(failing, "failed"),
    }
    assert found["raises"].detail == "ValueError: two lines of text"
    assert found["aborts"].detail == "the process ended by SIGABRT: what():  no kernel image"
    assert found["reads_nowhere"].detail.startswith("the process ended by SIGSEGV")
    assert found["leaves"].detail == "the process ended with exit code 7"
    # One process does the checks until one of them fails: Paddle is loaded once.
    assert found["passes"] == found["again"] != found["late"]


def test_one_that_hangs_is_ended_with_all_that_it_started(tmp_path):
    begin = time.monotonic()
    found = findings(tmp_path, check("hangs", seconds=2.0), check("passes"))
    assert found["hangs"] == Finding("failed", "it did not end within 2 s")
    assert found["passes"].result == "ok"
    assert time.monotonic() - begin < 30
    with pytest.raises(ProcessLookupError):
        _poke(int((tmp_path / "child.txt").read_text()))


def _poke(pid: int) -> None:
    """Raises ProcessLookupError once the process is gone; one that was killed may be there for a moment."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        os.kill(pid, 0)
        time.sleep(0.05)


def test_what_needs_a_failed_check_is_skipped(tmp_path):
    found = findings(tmp_path, check("raises"), check("passes", "raises"))
    assert found["passes"] == Finding("skipped", "because 'raises' failed")


def test_the_output_of_a_check_is_shown_on_demand(tmp_path, capsys):
    for show in (False, True):
        assert len(list(examined([check("raises")], "cpu", tmp_path, show=show))) == 1
        assert ("ValueError: two lines\nof text\n" in capsys.readouterr().err) == show


def test_without_a_home_all_checks_share_one_cache(tmp_path, monkeypatch):
    """A container's user may have none. Each process would compile the C++ operations for itself."""
    for home, cache in ((tmp_path, "the user's"), ("/proc/none", str(tmp_path / "cache"))):
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setenv("HOME", str(home))
        assert findings(tmp_path, check("caches"))["caches"].detail == cache
