"""What a process loads and reads before its first step. The benchmark `startup` measures the time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

IMPORT = """
import sys, time
begin = time.process_time()
import ppema
print(time.process_time() - begin)
print(*sys.modules)
"""

# One process that does what comes before the programs of configs/digits_cnn.yml.
START = """
import sys
opened = []
sys.addaudithook(lambda event, given: opened.append(str(given[0])) if event == "open" else None)
from ppema.environment import installed_builds, load_paddle
installed_builds()
print(*[each for each in opened if each.endswith(("METADATA", "PKG-INFO"))])
load_paddle()
import ppema.data.transforms.table
from ppema.config import load_config
from ppema.data.sets.digits import digits
load_config("configs/digits_cnn.yml", [])
digits("train")
print(*sys.modules)
"""


def lines(code):
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_ppema_is_imported_within_a_tenth_of_a_second_and_without_other_packages():
    seconds, modules = lines(IMPORT)
    assert float(seconds) < 0.1
    assert {"paddle", "numpy", "pydantic", "yaml"}.isdisjoint(modules.split())


@pytest.fixture(scope="module")
def start():
    return lines(START)


def test_the_build_of_paddle_is_found_without_a_look_into_every_package(start):
    assert start[0] == ""


def test_masked_arrays_of_numpy_are_not_loaded(start):
    assert "numpy.ma" not in start[1].split()
