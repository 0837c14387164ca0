"""The public functions from Python: when they load paddle, with how many threads, and what they take for a run."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import ppema
from ppema.evaluation.stored import evaluate_stored
from ppema.posthoc import search
from ppema.training import loop
from ppema.weights import export

ROOT = Path(__file__).parents[1]


def test_a_function_loads_paddle_when_it_is_called_with_the_threads_of_the_config():
    """A number of threads that is no default on this machine."""
    code = f"""
import os, sys, ppema
functions = [ppema.train, ppema.build, ppema.evaluate, ppema.average, ppema.export]
assert "paddle" not in sys.modules
threads = 3 if os.cpu_count() != 3 else 2
functions[1](ppema.load_config({str(ROOT / "configs/digits_mlp.yml")!r}, [f"runtime.threads={{threads}}"]))
assert os.environ["OMP_NUM_THREADS"] == str(threads)
"""
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "PPEMA_NATIVE": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_other_names_load_paddle_at_their_first_use_in_static_mode():
    code = """
import sys, ppema
ppema.read_state
assert not sys.modules["paddle"].in_dynamic_mode()
"""
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("public", "done_by"),
    [
        (ppema.train, loop.train),
        (ppema.evaluate, evaluate_stored),
        (ppema.average, search.average),
        (ppema.export, export.export),
    ],
    ids=["train", "evaluate", "average", "export"],
)
def test_a_public_function_takes_the_arguments_of_the_one_that_works(public, done_by):
    (_, *ours), (_, *theirs) = (inspect.signature(each).parameters.values() for each in (public, done_by))
    assert [(each.name, each.kind, each.default) for each in ours if each.name != "say"] == [
        (each.name, each.kind, each.default) for each in theirs if each.name != "say"
    ]
    assert inspect.getdoc(public)
