"""ppema as users install it: the wheel, in an environment of its own, used from a folder that has nothing to do with it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from support.configs import CNN, data_section, write_config

from ppema.cli.main import COMMANDS
from ppema.version import VERSION

pytestmark = pytest.mark.campaign  # a wheel, an environment, and type checks in it
ROOT = Path(__file__).parents[1]
PACKAGED = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "requirements-core.txt")
TINY = {
    "model": "{name: nets.Net}",
    "data": data_section(
        "{name: digits, split: train, batch_size: 32, shuffle: true, workers: 1}",
        "{name: digits, split: test, batch_size: 256}",
    ),
    "averages": "{ema: {decay: 0.9}}",
    "train": "{epochs: 1, stop_after: 3 steps}",
}
NETS = """
import paddle
class Net(paddle.nn.Sequential):
    def __init__(self):
        super().__init__(paddle.nn.Flatten(), paddle.nn.Linear(64, 10))
"""


def run(*command: object, cwd: Path, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    """environment: in addition to what a login shell has; the C++ operations have tests of their own."""
    variables = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "PPEMA_NATIVE": "0", **environment}
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env=variables, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


ALONE = ("--no-deps", "--no-index", "--disable-pip-version-check")


def wheel_in(folder: Path, **environment: str) -> tuple[Path, str]:
    """A wheel built from a copy of what the package is made of, by the setuptools of this environment, and the output."""
    shutil.copytree(ROOT / "ppema", folder / "ppema", ignore=shutil.ignore_patterns("__pycache__"))
    for name in PACKAGED:
        shutil.copy(ROOT / name, folder / name)
    command = (sys.executable, "-m", "pip", "wheel", "--verbose", *ALONE, "--no-build-isolation", "--wheel-dir", "dist", ".")
    done = run(*command, cwd=folder, **environment)
    (made,) = (folder / "dist").iterdir()
    return made, done.stdout + done.stderr


def environment_in(folder: Path, wheel: Path) -> Path:
    """The folder of a virtual environment with `wheel`. It finds paddle and the others where this one has them."""
    venv.create(folder, with_pip=False)
    python = folder / "bin/python"
    run(sys.executable, "-m", "pip", "--python", python, "install", *ALONE, wheel, cwd=folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text("\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}) + "\n")
    return folder


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The pure wheel, as it is published."""
    return wheel_in(tmp_path_factory.mktemp("wheel"))[0]


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    return environment_in(tmp_path_factory.mktemp("environment"), wheel)


@pytest.fixture
def project(tmp_path):
    """A user's folder, in which files lie that have the names of modules."""
    write_config(tmp_path / "tiny.yml", CNN, **TINY)
    (tmp_path / "nets.py").write_text(NETS)
    for name in ("tqdm", "numpy", "torch", "socket", "ppema"):
        (tmp_path / f"{name}.py").write_text(f"open('{tmp_path}/{name} ran', 'w')\n")
    return tmp_path


def test_the_wheel_has_what_the_package_reads(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    tracked = {str(path.relative_to(ROOT)) for path in (ROOT / "ppema").rglob("*") if path.is_file()}
    ours = {name for name in tracked if "__pycache__" not in name}
    assert {"ppema/py.typed", "ppema/ir/native/average.cc", "ppema/data/sets/digits.csv.gz"} <= ours
    info = f"ppema-{VERSION}.dist-info"
    assert {name for name in names if not name.startswith(info)} == ours
    assert any(name.endswith("LICENSE") for name in names)


def test_it_asks_for_what_it_imports(environment):
    (found,) = importlib.metadata.distributions(
        name="ppema", path=[str(path) for path in environment.glob("lib/*/site-packages")]
    )
    core = (ROOT / "requirements-core.txt").read_text().splitlines()
    assert [each for each in found.requires or [] if "extra ==" not in each] == [
        each for each in core if each[:1] not in ("#", "")
    ]
    assert found.version == VERSION


# Neither a compiler, as in the last stage of the Dockerfile, nor a folder to keep what is compiled.
BARE = {"PATH": "/nowhere", "XDG_CACHE_HOME": "/dev/null", "PPEMA_NATIVE": "1"}
ORIGIN = (
    "from ppema.environment import load_paddle; load_paddle(); "
    "from ppema.ir import native; print(native.why_missing(), native.origin())"
)


@pytest.mark.skipif(
    platform.machine() != "x86_64" or not shutil.which("g++"), reason="only g++ on x86-64 builds them for a wheel"
)
def test_a_wheel_carries_the_operations_to_where_no_compiler_is(project, tmp_path_factory):
    made, said = wheel_in(tmp_path_factory.mktemp("wheel"), PPEMA_NATIVE="1")
    assert made.name == f"ppema-{VERSION}-py3-none-linux_x86_64.whl"
    assert "ppema: built its C++ operations for Paddle " in said
    folder = environment_in(tmp_path_factory.mktemp("environment"), made)
    python = folder / "bin/python"
    ready = run(python, "-I", "-c", ORIGIN, cwd=project, **BARE)
    assert ready.stdout.splitlines()[-1] == "None from the wheel, for x86-64-v3"
    trained = run(folder / "bin/ppema", "train", "-c", "tiny.yml", cwd=project, **BARE)
    assert "ppema: " not in ready.stderr + trained.stderr
    # Other content is never loaded: it would end the process.
    (library,) = folder.glob("lib/python*/site-packages/ppema/ir/native/built/native-*.so")
    library.write_bytes(library.read_bytes()[:-1])
    refused = run(python, "-I", "-c", ORIGIN, cwd=project, **BARE)
    assert refused.stdout.splitlines()[-1] == "there is no C++ compiler (g++) "
    first, second = [line for line in refused.stderr.splitlines() if line.startswith("ppema: ")]
    assert f"{library} is damaged" in first
    assert second.endswith("which are slower: there is no C++ compiler (g++)")


def test_without_a_compiler_the_wheel_is_pure_and_says_so(tmp_path):
    made, said = wheel_in(tmp_path, PPEMA_NATIVE="1", PATH="/nowhere")
    assert made.name == f"ppema-{VERSION}-py3-none-any.whl"
    why = "ppema: the wheel has no C++ operations, which are built at their first use: there is no C++ compiler (g++)"
    assert why in map(str.strip, said.splitlines())


def test_a_python_that_was_named_must_build_them(tmp_path):
    for name in PACKAGED:
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "ppema", tmp_path / "ppema", ignore=shutil.ignore_patterns("__pycache__"))
    command = (sys.executable, "setup.py", "--quiet", "build_py")
    done = run(*command, cwd=tmp_path, code=1, PPEMA_NATIVE="1", PPEMA_BUILD_FOR="/no/python")
    assert done.stderr.splitlines()[-1] == "PPEMA_BUILD_FOR: /no/python: /no/python can not be run: No such file or directory"


def test_the_changelog_has_a_section_for_it():
    """Below that of what is not released yet, and dated."""
    sections = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sections[0] == "[Unreleased]"
    assert re.fullmatch(rf"\[{re.escape(VERSION)}\] - \d{{4}}-\d\d-\d\d", sections[1])


def test_a_config_of_ones_own_is_trained_and_shown(environment, project):
    ppema = environment / "bin/ppema"
    done = run(ppema, "train", "-c", "tiny.yml", cwd=project)
    assert "run: runs/tiny" in done.stdout.splitlines()
    assert re.search(r"^ema +\d", done.stdout, re.MULTILINE)
    evaluated = run(ppema, "eval", "-c", "tiny.yml", "--weights", "ema", cwd=project)
    assert evaluated.stdout.splitlines()[1].split()[0] == "ema"
    shown = run(ppema, "show", "-c", "tiny.yml", cwd=project)
    assert "linear_0.w_0" in shown.stdout
    refused = run(ppema, "train", "-c", "tiny.yml", "--resume", "never", cwd=project, code=2)
    assert refused.stderr.splitlines()[-1] == f"to resume it: {ppema} train -c tiny.yml"
    assert list(project.glob("* ran")) == []


def test_the_script_is_quick_to_list_commands_and_benchmark_says_what_it_lacks(environment, project):
    done = run(environment / "bin/ppema", "--help", cwd=project)
    assert done.stdout.startswith("usage: ppema COMMAND ...")
    assert all(f"\n  {command} " in done.stdout for command in COMMANDS)
    done = run(environment / "bin/ppema", "benchmark", "ema", cwd=project, code=2)
    assert done.stderr == "benchmark: it needs the checkout of ppema, which has the folder benchmarks: run it there\n"


def test_it_is_imported_from_the_environment(environment, tmp_path):
    code = "import ppema; print(ppema.__file__, ppema.__version__, ppema.ExponentialMovingAverage.__name__)"
    file, version, name = run(environment / "bin/python", "-c", code, cwd=tmp_path).stdout.split()
    assert Path(file).is_relative_to(environment)
    assert (version, name) == (VERSION, "ExponentialMovingAverage")


USER = """
import ppema

config = ppema.load_config("mine.yml", ["lr=0.1"])
result = ppema.train(config, resume="auto")
print(result.state.step + 1, result.metrics["ema"]["accuracy"])
measures = ppema.evaluate(config, weights="ema", checkpoint="best")
outcome = ppema.average(config, sigma_rel=[0.05, 0.1], metric="loss")
worst: float = max(row.metrics["loss"] for row in outcome.rows)
ppema.export(config, "ema.pdparams", weights=outcome.files[0])
ema = ppema.ExponentialMovingAverage(0.999)
ema.update()
names = [checkpoint.path.name for checkpoint in ppema.run("runs/mine").checkpoints]
"""
WRONG = """
import ppema
ppema.tarin
ppema.average(ppema.load_config("mine.yml"), sigma=0.1)
word: str = ppema.evaluate(ppema.load_config("mine.yml"))
"""


def checked(environment: Path, folder: Path, text: str) -> tuple[int, str]:
    (folder / "user.py").write_text(text)
    checker = Path(sys.executable).with_name("basedpyright")
    if not checker.exists():
        pytest.skip("basedpyright is not installed")
    command = [checker, "--level", "error", "--pythonpath", environment / "bin/python", "user.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout


def test_a_users_lines_pass_the_type_checker(environment, tmp_path):
    code, said = checked(environment, tmp_path, USER)
    assert code == 0, said


def test_a_users_mistakes_do_not(environment, tmp_path):
    code, said = checked(environment, tmp_path, WRONG)
    assert code == 1
    assert re.findall(r"user.py:(\d+):\d+ - error", said) == ["3", "4", "5"], said
