"""The process around paddle: installed builds, versions and threads."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import paddle
import pytest

from ppema import environment
from ppema.config import load_config
from ppema.errors import SetupError
from ppema.training.setup import prepare_training

ROOT = Path(__file__).parents[1]
PIR = pytest.mark.skipif(paddle.__version__.startswith("2."), reason="Paddle 2.6 has no PIR, on which a newer one runs")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Makes the distributions of these folders the only ones that are installed."""

    def install(*folders):
        for each in folders:
            (tmp_path / each).mkdir()
        context = importlib.metadata.DistributionFinder.Context
        found = importlib.metadata.MetadataPathFinder.find_distributions
        monkeypatch.setattr("importlib.metadata.distributions", lambda **by: found(context(path=[str(tmp_path)], **by)))

    return install


def python(code: str, *path: Path):
    environment = {"PYTHONPATH": ":".join(map(str, (*path, ROOT)))}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


def test_both_builds_installed_are_refused(installed):
    installed("numpy-2.0.dist-info", "paddlepaddle-3.3.1.dist-info", "PaddlePaddle_GPU-3.3.1.dist-info")
    with pytest.raises(SetupError, match="both paddlepaddle and paddlepaddle-gpu are installed; they overwrite each other"):
        environment.load_paddle()


@pytest.mark.parametrize("name", ["paddlepaddle", "paddlepaddle_gpu"])
def test_one_build_is_fine(installed, name):
    installed("numpy-2.0.dist-info", f"{name}-3.3.1.dist-info")
    assert environment.load_paddle().__name__ == "paddle"


def test_a_paddle_that_can_not_be_imported_is_said(tmp_path):
    (tmp_path / "paddle.py").write_text("raise ImportError('no such thing')")
    done = python("from ppema.environment import load_paddle; load_paddle()", tmp_path)
    assert "SetupError: paddle can not be imported (no such thing)" in done.stderr


def test_the_range_of_versions_is_the_same_in_all_files():
    extra = re.search(r'^cpu = \["(.*)"\]$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    newest = environment.NEWEST_PIR
    assert (
        extra is not None
        and extra[1] == f"paddlepaddle>={environment.OLDEST_PIR[0]}.{environment.OLDEST_PIR[1]},<{newest[0]}.{newest[1] + 1}"
    )
    pins = {}
    for file in ("requirements.txt", "requirements-3.0.txt", "requirements-2.6.txt"):
        pin = re.search(r"^paddlepaddle==(.*)$", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
        assert pin is not None, file
        pins[file] = environment.release(pin[1])
    assert list(pins.values()) == [newest, environment.OLDEST_PIR, environment.PROGRAM_DESC]


@pytest.fixture
def forgotten():
    """Clears the memory of checked versions."""
    environment.check_version.cache_clear()
    yield
    environment.check_version.cache_clear()


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("version", ["2.6.0", "2.6.2", "3.0.0", "3.0.0.post1", "3.1.1", "3.2.2", "3.3.1", "3.3.1-gpu"])
def test_a_tested_paddle_passes_in_silence(version):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        environment.check_version(version)


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("version", ["3.4.0", "3.4.0.dev20261101", "3.10.0", "4.0.0-beta0", "0.0.0"])
def test_an_unknown_paddle_is_warned_of_once(version):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        environment.check_version(version)
        environment.check_version(version)
    assert [str(each.message) for each in caught] == [
        f"ppema was tested with paddle 2.6 or 3.0 to 3.3, and this is {version}: if it fails, install 3.3"
    ]


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("version", ["1.8.5", "2.5.2", "3.0.0-beta2", "3.0.0b1", "3.0.0rc1", "3.0.0.dev20240901"])
def test_a_paddle_that_is_too_old_is_refused(version):
    with pytest.raises(SetupError) as refused:
        environment.check_version(version)
    assert str(refused.value) == (
        f"paddle {version} is too old: ppema needs paddle 2.6 or 3.0 to 3.3: pip install -r requirements.txt"
    )


def show(version: str, change: str = ""):
    """Runs tools/show.py under a changed paddle whose version is `version`."""
    code = f"import sys, paddle; paddle.__version__ = {version!r}\n{change}\nfrom ppema.cli.show import main; sys.exit(main())"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PPEMA_NATIVE": "0", "PYTHONPATH": str(ROOT)}
    arguments = ["-c", str(ROOT / "configs/digits_mlp.yml"), "-o", "runtime.threads=1"]
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.campaign
@PIR
def test_a_command_goes_on_with_an_unknown_paddle():
    done = show("3.4.0")
    said = [line for line in done.stderr.splitlines() if "ppema" in line]
    assert said == ["warning: ppema was tested with paddle 2.6 or 3.0 to 3.3, and this is 3.4.0: if it fails, install 3.3"]
    assert done.returncode == 0 and "not used: it was checked with paddle 3.0 to 3.3, and this is 3.4.0" in done.stdout


def test_a_command_ends_with_a_line_where_paddle_is_too_old():
    done = show("2.5.2")
    assert (done.returncode, done.stdout, done.stderr.splitlines()[-1]) == (
        2,
        "",
        "paddle 2.5.2 is too old: ppema needs paddle 2.6 or 3.0 to 3.3: pip install -r requirements.txt",
    )


@pytest.mark.campaign
@PIR
def test_an_unknown_paddle_without_a_private_name_is_refused_in_a_line():
    done = show("3.9.0", "from paddle.base import executor; del executor._StandaloneExecutor")
    assert done.returncode == 2 and done.stdout == ""
    line = done.stderr.splitlines()[-1]
    assert line.startswith("ppema does not know paddle 3.9.0 (ImportError: cannot import name '_StandaloneExecutor' from ")
    assert line.endswith("): install paddlepaddle 3.3")


CASES = [("auto", "3", 3), (2, "3", 2), ("auto", "", None), ("auto", "x", None), ("auto", "0", None)]


@pytest.mark.parametrize(("asked", "set_to", "expected"), CASES)
def test_threads_before_paddle_is_loaded(monkeypatch, asked, set_to, expected):
    monkeypatch.delitem(sys.modules, "paddle")
    monkeypatch.setenv("OMP_NUM_THREADS", set_to)
    assert environment.choose_threads(asked) == (expected or environment.available_cores())
    assert environment.threads_in_use() == (expected or environment.available_cores())


@pytest.mark.parametrize(("ranks", "expected"), [(2, 4), (3, 2), (16, 1)])
def test_ranks_of_one_machine_share_its_cores(monkeypatch, ranks, expected):
    monkeypatch.delitem(sys.modules, "paddle")
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(environment, "available_cores", lambda: 8)
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", str(2 * ranks))
    monkeypatch.setenv("PADDLE_LOCAL_SIZE", str(ranks))
    assert environment.choose_threads("auto") == expected


def test_from_python_another_number_of_threads_is_not_silently_ignored():
    """Paddle is loaded in this process with one thread."""
    config = load_config(ROOT / "configs/digits_mlp.yml", ["runtime.threads=2"])
    with pytest.raises(SetupError) as refused:
        prepare_training(config)
    assert str(refused.value) == (
        "runtime.threads: 2 threads were asked for, but paddle is already loaded with 1: set "
        "os.environ['OMP_NUM_THREADS'] = '2' before paddle is imported, or set runtime.threads to 1"
    )


def test_one_thread_is_in_the_singular(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with pytest.raises(SetupError, match=r"runtime\.threads: 1 thread was asked for, but paddle is already loaded with 2: set"):
        environment.choose_threads(1)


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


@pytest.mark.campaign
@pytest.mark.parametrize(
    "imports", ["import ppema, paddle", "import ppema; ppema.clone_for_test", "import ppema.data.processes.worker, paddle"]
)
def test_paddle_does_not_warn_of_a_missing_ccache(imports, tmp_path):
    """Paddle 3 looks for it on the path when it is imported."""
    environment = {"PATH": str(tmp_path), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "default::UserWarning", "-c", imports]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0 and "ccache" not in done.stderr, done.stderr
