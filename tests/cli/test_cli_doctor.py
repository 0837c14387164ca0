"""ppema doctor as a user runs it: in any folder, with and without Paddle, and where a check fails."""

from __future__ import annotations

import json
import os
import sys

import pytest
from support.commands import ROOT, tool

from ppema.cli.doctor import main
from ppema.diagnosis import checklist, installed
from ppema.diagnosis.checklist import CHECKS, LOADED, Check

FIRST = ["ppema", "platform", "packages", "environment", "Paddle installed"]


@pytest.fixture
def few(monkeypatch):
    """Two checks: that Paddle loads, and one that needs it."""
    monkeypatch.setattr(checklist, "CHECKS", (CHECKS[0], Check("another", "support.examined.passes", (LOADED,))))


@pytest.mark.campaign
@pytest.mark.parametrize("device", ["auto", "gpu:0"])
def test_a_whole_table(tmp_path, device):
    """In an empty folder that can not be written to, with no home and no network. There is no GPU here."""
    here, temporary = tmp_path / "here", tmp_path / "tmp"
    here.mkdir(mode=0o555)
    temporary.mkdir()
    done = tool("doctor", "--json", "--device", device, cwd=here, TMPDIR=str(temporary))
    *rows, verdict, advice, last = done.stdout.splitlines()
    found = json.loads(last)
    assert [each["name"] for each in found["checks"]] == [*FIRST, *(check.name for check in CHECKS)]
    results = {each["name"]: each["result"] for each in found["checks"]}
    assert [row.split("  ")[0] for row in rows] == list(results)
    if device == "auto":
        assert done.returncode == 0 and verdict.startswith("verdict: no check failed: ")
        assert advice == f"next: train: {sys.executable} {ROOT}/tools/train.py -c CONFIG"
        assert "failed" not in results.values()
        sound = {name for name, result in results.items() if result == "ok"}
        assert sound >= {LOADED, "averages, Paddle", "test clone", "swap", "checkpoint", "2 ranks, gloo", "VisualDL"}
    else:
        assert (done.returncode, verdict) == (1, "verdict: 1 of 22 checks failed: device")
        assert results["device"] == "failed" and results["2 ranks, gloo"] == "ok" and results["swap"] == "skipped"
    assert list(here.iterdir()) == list(temporary.iterdir()) == []


def test_a_sound_installation(few, capsys):
    assert main(["--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = json.loads(lines[-1])
    assert [each["name"] for each in found["checks"]] == [*FIRST, LOADED, "another"]
    assert lines[-3].startswith("verdict: no check failed: ") and found["verdict"] == lines[-3].removeprefix("verdict: ")
    assert lines[-2] == "next: train: ppema train -c CONFIG" or os.path.exists("configs/digits_cnn.yml")


def test_a_missing_paddle_is_told_with_the_command_that_installs_it(few, monkeypatch, capsys, tmp_path):
    (tmp_path / "paddle.py").write_text("raise ModuleNotFoundError(\"No module named 'paddle'\")")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(installed, "installed_builds", lambda: ())
    monkeypatch.setattr(installed.importlib.util, "find_spec", lambda name: None)
    assert main(["--json"]) == 1
    checks = json.loads(capsys.readouterr().out.splitlines()[-1])["checks"]
    rows = {each["name"]: (each["result"], each["detail"]) for each in checks}
    assert rows["Paddle installed"] == ("failed", f"Paddle is missing: {installed.INSTALL}")
    assert rows[LOADED] == ("failed", "paddle can not be imported (No module named 'paddle')")
    assert rows["another"] == ("skipped", f"because {LOADED!r} failed")


@pytest.mark.parametrize("device", ["tpu", "gpu:", "gpu:01", "cpu:0", "gpu:99999"])
def test_a_device_that_is_none_is_refused(device, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--device", device])
    assert caught.value.code == 2
    assert f"expected auto, cpu, gpu or gpu:N, got {device!r}" in capsys.readouterr().err


def test_no_folder_for_temporary_files_is_a_row(few, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    assert main([]) == 1
    out = capsys.readouterr().out
    assert "temporary files" in out and "set TMPDIR" in out and "verdict: 1 of 6 checks failed: temporary files" in out
