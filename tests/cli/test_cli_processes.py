"""Commands as processes: modules, help without paddle, closed streams, cores, read-only folders."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import CNN, ROOT, tool

COMMANDS = sorted(path.stem for path in (ROOT / "tools").glob("*.py"))


@pytest.mark.campaign
@pytest.mark.parametrize("command", COMMANDS)
def test_each_module_of_a_command_runs_it(command, here):
    """`python -m` runs the command; a module that only defined functions would do nothing."""
    of_a_run = ("benchmark", "board", "checkpoint", "compare", "report")
    wrong = ["missing"] if command in of_a_run else ["-c", "missing.yml"]
    done = [
        subprocess.run(
            [sys.executable, "-m", f"ppema.cli.{command}", *arguments],
            cwd=here,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        for arguments in (["--help"], wrong)
    ]
    assert [each.returncode for each in done] == [0, 2]
    assert done[0].stdout.startswith(f"usage: python -m ppema.cli.{command} ")
    named = "Paddle's launcher, a script and its arguments follow --" if command == "launch" else "missing"
    assert named in done[1].stderr or "required" in done[1].stderr


@pytest.mark.parametrize("name", ["train", "eval", "show", "average", "export", "sweep"])
def test_help_needs_no_paddle_and_little_time(name, tmp_path):
    # A fake paddle raises at its import. The time is that of the processor, independent of other load on the machine.
    (tmp_path / "paddle.py").write_text("raise RuntimeError('imported')")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = tool(name, "--help", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: python tools/{name}.py")
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def child(code: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run `code` in a shell; "$@" in it is the command."""
    command = ["bash", "-c", code, "bash", sys.executable, "-W", "ignore", *arguments]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "tests")}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.campaign
@pytest.mark.parametrize("closed", [">&-", ">&- <&-", ">&- 2>&-"])
def test_a_closed_stdout_is_no_traceback_and_no_file_of_the_run(tmp_path, closed):
    done = child(f'"$@" {closed}', str(ROOT / "tools/train.py"), "-c", CNN, "-o", "train.stop_after=2 steps", cwd=tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert (tmp_path / "runs/digits_cnn/log.txt").read_text().splitlines()[-1].startswith("step 2  eval  ")


@pytest.mark.campaign
def test_a_reader_that_goes_is_no_traceback(tmp_path):
    done = child('"$@" | true; exit ${PIPESTATUS[0]}', str(ROOT / "tools/show.py"), "-c", CNN, "--resolved", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.campaign
def test_a_real_process_uses_every_core_and_records_it(tmp_path):
    done = tool("train", "-c", CNN, "-o", "train.stop_after=2 steps", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    manifest = json.loads((tmp_path / "runs/digits_cnn/checkpoints/step-00000002/manifest.json").read_text())
    assert manifest["threads"] == len(os.sched_getaffinity(0))
    again = tool("train", "-c", CNN, "-o", "train.stop_after=3 steps", "-o", "runtime.threads=1", cwd=tmp_path)
    assert "resuming at step 2 of 3" in again.stderr
    manifest = json.loads((tmp_path / "runs/digits_cnn/checkpoints/step-00000003/manifest.json").read_text())
    assert manifest["threads"] == 1


@pytest.mark.campaign
def test_a_read_only_project_trains(tmp_path):
    project = tmp_path / "project"
    for part in ("ppema", "tools", "configs"):
        shutil.copytree(ROOT / part, project / part, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (*project.rglob("*"), project):
        path.chmod(0o555 if path.is_dir() else 0o444)
    (tmp_path / "work").mkdir()
    command = [sys.executable, str(project / "tools/train.py"), "-c", str(project / "configs/digits_mlp.yml")]
    done = subprocess.run(
        [*command, "-o", "train.stop_after=2 steps"],
        cwd=tmp_path / "work",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    for path in (project, *project.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(tmp_path / "work/runs")) == ["digits_mlp"]
