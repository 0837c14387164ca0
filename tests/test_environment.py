"""The process around paddle: which builds are installed, and how many threads."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ppema import environment
from ppema.config import load_config
from ppema.errors import SetupError
from ppema.training.setup import prepare_training

ROOT = Path(__file__).parents[1]


def distributions(*names):
    return lambda: [SimpleNamespace(metadata={"Name": name}) for name in names]


def python(code: str, *path: Path):
    environment = {"PYTHONPATH": ":".join(map(str, (*path, ROOT)))}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


def test_both_builds_installed_are_refused(monkeypatch):
    monkeypatch.setattr("importlib.metadata.distributions", distributions("numpy", "paddlepaddle", "PaddlePaddle_GPU"))
    with pytest.raises(SetupError, match="both paddlepaddle and paddlepaddle-gpu are installed; they overwrite each other"):
        environment.load_paddle()


@pytest.mark.parametrize("name", ["paddlepaddle", "paddlepaddle-gpu"])
def test_one_build_is_fine(monkeypatch, name):
    monkeypatch.setattr("importlib.metadata.distributions", distributions("numpy", name))
    assert environment.load_paddle().__name__ == "paddle"


def test_a_paddle_that_can_not_be_imported_is_said(tmp_path):
    (tmp_path / "paddle.py").write_text("raise ImportError('no such thing')")
    done = python("from ppema.environment import load_paddle; load_paddle()", tmp_path)
    assert "SetupError: paddle can not be imported (no such thing)" in done.stderr


CASES = [("auto", "3", 3), (2, "3", 2), ("auto", "", None), ("auto", "x", None), ("auto", "0", None)]


@pytest.mark.parametrize(("asked", "set_to", "expected"), CASES)
def test_threads_before_paddle_is_loaded(monkeypatch, asked, set_to, expected):
    monkeypatch.delitem(sys.modules, "paddle")
    monkeypatch.setenv("OMP_NUM_THREADS", set_to)
    assert environment.choose_threads(asked) == (expected or environment.available_cores())
    assert environment.threads_in_use() == (expected or environment.available_cores())


def test_from_python_another_number_of_threads_is_not_silently_ignored():
    """Paddle is loaded in this process with one thread."""
    config = load_config(ROOT / "configs/digits_mlp.yml", ["runtime.threads=2"])
    with pytest.raises(SetupError, match="2 threads were asked for, but paddle is already loaded with 1"):
        prepare_training(config)


def test_the_lower_layers_load_no_paddle():
    rooms = "ppema, ppema.config, ppema.data, ppema.user_code.names, ppema.averaging.decay, ppema.checkpoint.inspect"
    code = f"import sys, {rooms}; sys.exit('paddle' in sys.modules)"
    assert python(code).returncode == 0


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"/proc/meminfo": ["MemTotal: 9 kB", "MemAvailable:     512 kB"]}, 512 << 10),
        ({"/sys/fs/cgroup/memory.max": ["300000"], "/sys/fs/cgroup/memory.current": ["100000"]}, 200_000),
        ({"/sys/fs/cgroup/memory.max": ["max"], "/sys/fs/cgroup/memory.current": ["100000"]}, 512 << 10),
        ({"/sys/fs/cgroup/memory.max": ["5"], "/sys/fs/cgroup/memory.current": ["7"]}, 0),
    ],
)
def test_the_memory_that_is_left_is_the_least_that_anybody_says(monkeypatch, files, expected):
    told = {"/proc/meminfo": ["MemAvailable:     512 kB"]} | files
    monkeypatch.setattr(environment, "_lines", lambda path: told.get(path, []))
    assert environment.available_memory() == expected


def test_where_nobody_says_there_is_no_memory_to_keep(monkeypatch):
    monkeypatch.setattr(environment, "_lines", lambda path: [])
    assert environment.available_memory() == 0


def test_glibc_keeps_freed_memory_unless_the_user_decided(monkeypatch):
    for name in [name for name in os.environ if name.startswith("MALLOC_")]:
        monkeypatch.delenv(name)
    assert environment.keep_freed_memory() == hasattr(ctypes.CDLL(None), "mallopt")
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "100000")
    assert not environment.keep_freed_memory()


def test_an_older_glibc_keeps_what_it_lets_one_keep(monkeypatch):
    for name in [name for name in os.environ if name.startswith("MALLOC_")]:
        monkeypatch.delenv(name)
    kept = {}

    def mallopt(option, value):
        if option == -3 and value > 32 << 20:
            return 0
        kept[option] = value
        return 1

    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(mallopt=mallopt))
    assert environment.keep_freed_memory()
    assert kept == {-3: 32 << 20, -1: 2**31 - 1}
