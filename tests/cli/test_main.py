"""The command line `ppema`: its commands, the arguments that it passes to them, and its messages for mistakes."""

from __future__ import annotations

import os
import re
import resource
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ppema.cli.main import COMMANDS, main
from ppema.cli.pasted import again
from ppema.version import VERSION

ROOT = Path(__file__).parents[2]
TOOLS = sorted(path.stem for path in (ROOT / "tools").glob("*.py"))


def module(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "ppema", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_help_lists_every_command_at_once_and_without_paddle(tmp_path):
    # A fake paddle raises at its import. The time is that of the processor, independent of other load on the machine.
    (tmp_path / "paddle.py").write_text("raise RuntimeError('imported')")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = module("--help", cwd=tmp_path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: python -m ppema COMMAND ...\n")
    commands = done.stdout.partition("commands:\n")[2].partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in commands] == list(COMMANDS)
    assert all(len(line) < 80 for line in commands)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def test_each_command_has_a_door_in_tools():
    assert sorted(COMMANDS) == TOOLS


def test_the_page_on_training_lists_the_commands():
    page = (ROOT / "docs/training.md").read_text()
    table = page[page.index("| command | purpose | page |") :].split("\n\n")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.M)) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_called_what_it_was_called(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: ppema {command} ")


def test_it_passes_arguments_and_exit_codes_on(tmp_path):
    done = module("train", "-c", "nowhere.yml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("nowhere.yml: ")
    done = module("show", "--schema", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, (ROOT / "configs/schema.json").read_text())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["trian", "-c", "x.yml"], "argument COMMAND: unknown command 'trian'; did you mean 'train'?"),
        (["fly"], f"argument COMMAND: unknown command 'fly'; expected one of {', '.join(COMMANDS)}"),
        (["-c", "x.yml"], "the following arguments are required: COMMAND"),
    ],
)
def test_a_mistake_is_one_line_after_the_usage(capsys, arguments, said):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.splitlines() == ["usage: ppema COMMAND ...", f"ppema: error: {said}"]


def test_its_version(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert (caught.value.code, capsys.readouterr().out) == (0, f"ppema {VERSION}\n")


@pytest.mark.parametrize(
    ("typed", "found_on_path", "expected"),
    [
        ("/usr/bin/python3 /env/bin/ppema train -c x.yml", "/env/bin/ppema", "ppema train"),
        ("/usr/bin/python3 env/bin/ppema train -c x.yml", "/env/bin/ppema", "env/bin/ppema train"),
        ("python -W ignore /env/bin/ppema train -c x.yml", "/env/bin/ppema", "python -W ignore /env/bin/ppema train"),
        ("python -m ppema train -c x.yml", None, "python -m ppema train"),
        ("python tools/train.py -c x.yml", None, "python tools/train.py"),
        ("python -m pytest tests", None, "ppema train"),
    ],
)
def test_a_command_to_be_pasted_begins_as_it_was_typed(monkeypatch, typed, found_on_path, expected):
    monkeypatch.setattr(sys, "orig_argv", shlex.split(typed))
    monkeypatch.setattr(again.shutil, "which", lambda name: found_on_path)
    assert shlex.join(again.launched(["-c", "x.yml"], "ppema train")) == expected


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("python -u tools/train.py -c x.yml", "python tools/launch.py -- --nproc_per_node 2 tools/train.py"),
        ("/usr/bin/python3 /env/bin/ppema train -c x.yml", "python tools/launch.py -- --nproc_per_node 2 ppema train"),
        ("python -m ppema train -c x.yml", "python tools/launch.py -- --nproc_per_node 2 python -m ppema train"),
    ],
)
def test_a_command_to_be_pasted_starts_all_ranks(monkeypatch, typed, expected):
    monkeypatch.setattr(sys, "orig_argv", shlex.split(typed))
    monkeypatch.setattr(again.shutil, "which", lambda name: "/env/bin/ppema")
    monkeypatch.setenv("PADDLE_TRAINER_ID", "0")
    found = again.launched(["-c", "x.yml"], "ppema train")
    assert again.on_all_ranks(found) == found and "-u" not in found
    monkeypatch.setenv(again.LAUNCHED_BY, '["python", "tools/launch.py", "--", "--nproc_per_node", "2"]')
    assert shlex.join(again.on_all_ranks(found)) == expected


def test_the_folder_of_the_script_is_off_the_path(monkeypatch, tmp_path, capsys):
    """For a console script, Python puts its folder first on the path; `python -m` and `tools` put another one there."""
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "ppema"), "--version"])
    for first in (str(tmp_path), os.getcwd()):
        monkeypatch.setattr(sys, "path", [first, *sys.path])
        with pytest.raises(SystemExit):
            main()
        assert (sys.path[0] == first) == (first != str(tmp_path))


def test_the_end_of_the_reader_is_no_failure_of_the_command():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, str(ROOT / "tools/show.py"), "--schema"]
    process = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120)
    os.close(writer)
    assert (process.returncode, process.stderr) == (141, "")
