"""What is found without Paddle."""

from __future__ import annotations

import re
from pathlib import Path

from ppema.diagnosis import installed
from ppema.diagnosis.finding import Finding

ROOT = Path(__file__).parents[2]


def test_the_packages_are_those_that_are_required(monkeypatch):
    lines = (ROOT / "requirements-core.txt").read_text(encoding="utf-8").splitlines()
    assert list(installed.PACKAGES) == [re.split("[><=]", line)[0] for line in lines if not line.startswith("#")]
    assert installed.packages().result == "ok"
    monkeypatch.setattr(installed, "PACKAGES", ("numpy", "no-such-package"))
    assert installed.packages() == Finding("failed", "missing: no-such-package; pip install no-such-package")


def test_a_missing_paddle_and_two_of_them(monkeypatch):
    assert installed.builds().result == "ok"
    monkeypatch.setattr(installed, "installed_builds", lambda: ("paddlepaddle", "paddlepaddle-gpu"))
    found = installed.builds()
    assert found.result == "failed" and "pip uninstall paddlepaddle paddlepaddle-gpu" in found.detail
    monkeypatch.setattr(installed, "installed_builds", lambda: ())
    assert installed.builds().result == "warning"
    monkeypatch.setattr(installed.importlib.util, "find_spec", lambda name: None)
    assert installed.builds() == Finding("failed", f"Paddle is missing: {installed.INSTALL}")


def test_the_environment_that_matters():
    variables = {"HOME": "/root", "OMP_NUM_THREADS": "2", "FLAGS_use_onednn": "1", "MY_OMP_KEY": "secret"}
    assert installed.environment(variables).detail == "FLAGS_use_onednn=1 OMP_NUM_THREADS=2"
