"""The files that run as code, and those that do not: in the working directory, by dotted path in a config, in a checkpoint."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.configs import CNN, data_section, write_config

from ppema.cli.checkpoint import main as checkpoint_main
from ppema.cli.export import main as export_main
from ppema.cli.show import main as show_main

ROOT = Path(__file__).parents[2]
# Modules of Python, of installed packages, and of optional packages that Paddle and its dependencies try to import.
LYING_THERE = (
    "tqdm",
    "numpy",
    "paddle",
    "matplotlib",
    "rich",
    "visualdl",
    "pickle",
    "socket",
    "runpy",
    "torch",
    "scipy",
    "cv2",
)
SECTIONS = {
    "model": "{name: nets.Net}",
    "data": data_section("{name: nets.Points, batch_size: 4, workers: 1}", "{name: nets.Points, batch_size: 4, workers: 1}"),
    "averages": "{ema: {decay: 0.9}}",
    "train": "{epochs: 1}",
}
NETS = """
import os
from pathlib import Path
import paddle
Path(__file__).with_name("ran").write_text("")
class Net(paddle.nn.Linear):
    def __init__(self):
        super().__init__(2, 3)
class Points:
    def __len__(self):
        return 9
    def __getitem__(self, index):
        import shapes
        return shapes.point(index), index % 3
"""


def python(*arguments: object, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    # The copy's C++ operations would be built anew, and have tests of their own.
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "OMP_NUM_THREADS": "1", "PPEMA_NATIVE": "0"}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the checkout as working directory, with a config's modules in it and beside the config."""
    folder = tmp_path_factory.mktemp("project")
    for part in ("ppema", "tools"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "experiments").mkdir()
    write_config(folder / "experiments/c.yml", CNN, **SECTIONS)
    (folder / "experiments/nets.py").write_text(NETS)
    (folder / "shapes.py").write_text("import numpy\ndef point(index):\n    return numpy.float32([index, 1])\n")
    for name in LYING_THERE:
        (folder / f"{name}.py").write_text(f"open('{folder}/{name} ran', 'w')\nraise ImportError('not the real one')\n")
    return folder


def ran(project: Path) -> list[str]:
    return sorted(path.name for path in project.glob("* ran"))


CONFIGURED = ("-c", "experiments/c.yml")


@pytest.fixture(scope="module")
def trained(project):
    """That copy with a run. Workers read its data set, which imports a module of the working directory at that time."""
    python("tools/train.py", *CONFIGURED, cwd=project)
    (project / "experiments/ran").unlink()
    return project


@pytest.mark.campaign
@pytest.mark.parametrize(
    "command",
    [
        ("tools/show.py", *CONFIGURED),
        ("tools/show.py", *CONFIGURED, "--curves", "curves.png", "--metric", "loss"),
        ("tools/eval.py", *CONFIGURED, "--weights", "ema"),
        ("-m", "ppema.cli.train", *CONFIGURED, "-o", "output=runs/again"),
        ("-m", "ppema", "train", *CONFIGURED, "-o", "output=runs/once more"),
    ],
    ids=["show", "curves", "eval", "train as a module", "train by python -m ppema"],
)
def test_nothing_that_lies_in_the_working_directory_runs(trained, command):
    python(*command, cwd=trained)
    assert ran(trained) == []


def test_a_config_is_code_only_where_something_is_built(trained, monkeypatch, capsys):
    """`show --resolved`, `export` and `checkpoint` run none of these modules, and no file that a run wrote."""
    monkeypatch.chdir(trained)
    for name in ("nets", "shapes"):
        # Recorded, so that the modules that this test imports are unloaded after it.
        monkeypatch.setitem(sys.modules, name, sys)
        del sys.modules[name]
    witness = trained / "experiments/ran"
    witness.unlink(missing_ok=True)
    shutil.copy(trained / "experiments/nets.py", "runs/c/nets.py")
    for config in (CONFIGURED, ("-c", "runs/c/config.yml")):
        assert show_main([*config, "--resolved"]) == 0
        assert export_main([*config, "-o", "output=runs/c", "--to", "ema.safetensors", "--weights", "ema"]) == 0
        assert export_main([*config, "-o", "output=runs/c", "--to", "ema.pdparams", "--weights", "ema"]) == 0
    (last,) = (str(path) for path in Path("runs/c/checkpoints").glob("step-*"))
    commands = (["list", "runs/c"], ["verify", "runs/c"], ["diff", last, last], ["prune", "runs/c", "--keep", "1"])
    assert [checkpoint_main(command) for command in commands] == [0] * len(commands)
    assert not witness.exists() and not Path("runs/c/ran").exists()
    capsys.readouterr()
    assert show_main(CONFIGURED) == 0
    assert witness.exists()
