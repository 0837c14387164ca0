"""tools/checkpoint.py: its output, and the checkpoints that it must not delete."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from support.checkpoints import PARTS, RAW, save, without_privileges

from ppema.checkpoint import inspect as inspection
from ppema.checkpoint.lock import locked
from ppema.checkpoint.store import Checkpoints
from ppema.cli.checkpoint import main


@pytest.fixture
def run(tmp_path):
    checkpoints = Checkpoints(tmp_path / "run/checkpoints", keep=9)
    (tmp_path / "run").mkdir()
    for step in (2, 4, 6):
        save(checkpoints, step, *["best"] * (step == 2))
    return tmp_path / "run"


def lines(capsys):
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_list(run, capsys):
    (run / "checkpoints/step-00000004/manifest.json").write_text("{}")
    (run / "checkpoints/step-00000006").rename(run / "checkpoints/step-00000006.aside")
    assert main(["list", str(run), "--json"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split() for line in out[:4]] == [
        ["checkpoint", "epoch", "MiB", "named"],
        ["step-00000002", "1", "0.00", "best"],
        ["step-00000004", "-", "0.00"],
        ["step-00000006.aside", "1", "0.00"],
    ]
    assert out[4].startswith(f"{run}/checkpoints/step-00000004/manifest.json: damaged")
    assert [each["step"] for each in json.loads(out[5])] == [2, None, 6]


def test_list_leaves_out_what_a_run_deletes_meanwhile(run, capsys, monkeypatch):
    real = inspection.step_folders
    monkeypatch.setattr(inspection, "step_folders", lambda folder: [*real(folder), folder / "step-00000007"])
    assert main(["list", str(run)]) == 0
    assert [line[0] for line in lines(capsys)] == ["checkpoint", *(f"step-0000000{step}" for step in (2, 4, 6))]


def test_verify(run, capsys):
    assert main(["verify", str(run)]) == 0
    folder = run / "checkpoints"
    said = [f"{path}: intact" for path in (*sorted(folder.glob("step-*")), folder)]
    assert capsys.readouterr().out.splitlines() == said
    os.truncate(folder / "step-00000004/raw.safetensors", 5)
    (folder / "last").write_text("step-00000002 0")
    assert main(["verify", str(run), "--json"]) == 2
    out = capsys.readouterr().out.splitlines()
    assert out[1] == f"{folder}/step-00000004/raw.safetensors: damaged: it has 5 bytes, and 132 were written"
    assert out[3] == f"{folder}/last: damaged: it names no checkpoint"
    assert [len(faults) for faults in json.loads(out[4]).values()] == [0, 1, 0, 1]
    assert main(["verify", str(folder / "step-00000002")]) == 0
    assert main(["verify", str(folder / "step-00000004")]) == 2
    assert main(["verify", str(run.parent)]) == 2
    assert "there are no checkpoints: name a run's output folder" in capsys.readouterr().err


def test_diff(run, capsys):
    a, b = (str(run / f"checkpoints/step-0000000{step}") for step in (2, 4))
    assert main(["diff", a, b]) == 0
    assert lines(capsys) == [
        ["part", "variable", "‖A‖", "‖B‖", "‖A-B‖", "‖A-B‖/‖A‖"],
        ["raw", "mean", "6", "12", "6", "1"],
        ["raw", "w", "5", "10", "5", "1"],
        ["3", "of", "5", "variables", "are", "equal,", "bit", "for", "bit"],
    ]
    assert main(["diff", a, a, "--all"]) == 0
    assert len(lines(capsys)) == 7
    other = Checkpoints(run.parent / "other")
    save(other, 1, parts={**PARTS, "raw": {"w": np.zeros((1, 2), "float32"), "new": np.ones(4, "float32")}})
    assert main(["diff", a, str(run.parent / "other/step-00000001"), "--json"]) == 0
    found = {each["name"]: each for each in json.loads(capsys.readouterr().out.splitlines()[-1]) if each["part"] == "raw"}
    assert (found["new"]["norm_a"], found["new"]["norm_b"], found["new"]["distance"]) == (None, 2.0, None)
    assert (found["mean"]["norm_a"], found["mean"]["norm_b"]) == (6.0, None)
    assert (found["w"]["norm_b"], found["w"]["distance"]) == (0.0, 5.0)
    save(other, 3, parts={**PARTS, "raw": {**RAW, "w": np.zeros(7, "float32")}})
    assert main(["diff", a, str(run.parent / "other/step-00000003")]) == 2
    assert capsys.readouterr().err == "raw: w has the shape [1, 2] in one checkpoint and [7] in the other\n"


def test_diff_takes_what_resume_takes(run, capsys, monkeypatch):
    """A run's folder, its checkpoints folder, and a file that names a checkpoint."""
    folder = run / "checkpoints"
    steps = {"..": 6, ".": 6, "last": 6, "best": 2, str(run): 6, str(folder): 6, str(folder / "best"): 2}
    monkeypatch.chdir(folder)
    for path, step in steps.items():
        assert main(["diff", path, str(folder / f"step-0000000{step}")]) == 0
        assert capsys.readouterr().out == "5 of 5 variables are equal, bit for bit\n", path
    for path in ("best-ema", "nowhere", "step-00000002/raw.safetensors"):
        assert main(["diff", "last", str(folder / path)]) == 2
        said = f"{folder / path}: there is no checkpoint: name the path of one, of a run, or of its last or best\n"
        assert capsys.readouterr().err == said


def test_prune(run, capsys):
    folder = run / "checkpoints"
    (folder / "mine").mkdir()
    assert main(["prune", str(run), "--keep", "1", "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{folder}/step-00000004: would be deleted",
        "1 checkpoints would be deleted",
    ]
    assert main(["prune", str(run), "--keep", "1", "--keep-every", "4"]) == 0
    assert capsys.readouterr().out == "0 checkpoints were deleted\n"
    assert main(["prune", str(run), "--keep", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == [f"{folder}/step-00000004"]
    assert sorted(os.listdir(folder)) == ["best", "last", "mine", "step-00000002", "step-00000006"]
    assert os.listdir(run) == ["checkpoints"]


def test_prune_deletes_nothing_where_it_does_not_know_what_to_keep(run, capsys):
    (run / "checkpoints/best").write_text("damaged")
    assert main(["prune", str(run), "--keep", "1"]) == 2
    assert capsys.readouterr().err == f"{run}/checkpoints/best: damaged: it names no checkpoint\n"
    (run / "checkpoints/best").unlink()
    with locked(run):
        assert main(["prune", str(run), "--keep", "1"]) == 2
    assert "is using this run" in capsys.readouterr().err
    assert len(list((run / "checkpoints").glob("step-*"))) == 3
    for count in ("0", "x", "-1"):
        with pytest.raises(SystemExit) as caught:
            main(["prune", str(run), "--keep", count])
        assert caught.value.code == 2
        assert f"expected an integer >= 1, got '{count}'" in capsys.readouterr().err


def test_what_is_no_checkpoint_is_named(run, capsys):
    assert main(["diff", str(run.parent), str(run)]) == 2
    said = f"{run.parent}/manifest.json: No such file or directory: this is no checkpoint of ppema\n"
    assert capsys.readouterr().err == said


def test_prune_within_the_folder_takes_the_lock_of_the_run(run, capsys, monkeypatch):
    monkeypatch.chdir(run / "checkpoints")
    with locked(run):
        assert main(["prune", ".", "--keep", "1"]) == 2
    assert capsys.readouterr().err.startswith(f"{run / 'lock'}: process {os.getpid()} on ")
    assert main(["prune", ".", "--keep", "1"]) == 0


def test_a_file_beside_those_set_aside_is_not_listed(run, capsys):
    (run / "checkpoints/step-00000004.aside").touch()
    (run / "checkpoints/step-00000005.aside").symlink_to("nowhere")
    assert main(["list", str(run)]) == 0
    assert [line[0] for line in lines(capsys)] == ["checkpoint", "step-00000002", "step-00000004", "step-00000006"]


@pytest.mark.parametrize("command", ["list", "verify"])
def test_a_name_that_is_too_long_is_one_line(tmp_path, capsys, command):
    path = tmp_path / ("x" * 300)
    assert main([command, str(path)]) == 2
    assert capsys.readouterr().err.startswith(f"{path}: there are no checkpoints: ")


@pytest.mark.parametrize("place", ["step-00000004/raw.safetensors", "step-00000004/manifest.json", "step-00000004", "last"])
def test_a_link_to_itself_is_one_line(run, capsys, place):
    """`stat` of the link raises OSError, "Too many levels of symbolic links"."""
    link = run / "checkpoints" / place
    if link.is_dir():
        shutil.rmtree(link)
    else:
        link.unlink()
    link.symlink_to(link.name)
    main(["verify", str(run)])
    out, err = capsys.readouterr()
    assert err == "" and "Traceback" not in out
    if place != "step-00000004":
        assert f"{link}: Too many levels of symbolic links" in out
    assert main(["list", str(run)]) == 0


def test_names_of_files_do_not_reach_the_terminal(run, capsys):
    """A file's name could clear the screen, or color the following text."""
    shutil.copy(run / "checkpoints/best", run / "checkpoints/best-\033[2J\nx: intact")
    for command in ("list", "verify"):
        main([command, str(run)])
        out = capsys.readouterr().out
        assert "\033" not in out and "x: intact" not in out.splitlines()
    assert main(["list", str(run)]) == 0
    assert "best-\\x1b[2J\\nx: intact" in capsys.readouterr().out


@pytest.mark.parametrize("unreadable", ["run", "run/checkpoints", "run/checkpoints/step-00000004"])
def test_what_may_not_be_read_is_not_intact(run, capsys, monkeypatch, unreadable):
    """The check accepts the run's folder, its checkpoints folder, and the folder of a checkpoint."""
    monkeypatch.chdir(run.parent)
    run.parent.chmod(0o755)
    (run.parent / unreadable).chmod(0)
    for path in ("run", "run/checkpoints", "run/checkpoints/step-00000004"):
        with without_privileges():
            code = main(["verify", path])
        said = capsys.readouterr()
        assert code == 2
        assert "Permission denied" in said.out + said.err or "there are no checkpoints: name a run's" in said.err
        assert "step-00000004: intact" not in said.out and "Traceback" not in said.err
    (run.parent / unreadable).chmod(0o755)


def test_an_unreadable_folder_of_checkpoints_is_one_line(run, capsys, monkeypatch):
    monkeypatch.chdir(run.parent)
    run.parent.chmod(0o755)
    (run / "checkpoints").chmod(0)
    for command in ("verify", "list"):
        with without_privileges():
            assert main([command, "run"]) == 2
        said = capsys.readouterr()
        assert (said.out, said.err) == ("", "run/checkpoints: it can not be read: Permission denied\n")
    (run / "checkpoints").chmod(0o755)


def test_a_checkpoint_that_is_a_dangling_link_is_listed_as_damaged(run, capsys):
    path = run / "checkpoints/step-00000006"
    shutil.rmtree(path)
    path.symlink_to("/nowhere/step-00000006")
    assert main(["list", str(run)]) == 0
    said = f"{path}: damaged: it is a link to /nowhere/step-00000006, which is missing"
    out = capsys.readouterr().out.splitlines()
    assert out[3].split() == ["step-00000006", "-", "0.00", "last"] and out[4] == said
    assert main(["verify", str(run)]) == 2
    assert capsys.readouterr().out.splitlines()[2:] == [said, f"{path}: damaged, and named by last"]


def test_the_fault_of_a_file_is_printed_once_however_many_pointers_name_its_checkpoint(run, capsys):
    folder = run / "checkpoints"
    for pointer in ("best", "best-raw-loss"):
        shutil.copy(folder / "last", folder / pointer)
    os.truncate(folder / "step-00000006/raw.safetensors", 5)
    assert main(["verify", str(run)]) == 2
    out = capsys.readouterr().out.splitlines()
    assert out[2] == f"{folder}/step-00000006/raw.safetensors: damaged: it has 5 bytes, and 132 were written"
    named = f"{folder}/step-00000006: damaged, and named by "
    assert len(out) == 4 and out[3].startswith(named)
    assert sorted(out[3].removeprefix(named).split(", ")) == ["best", "best-raw-loss", "last"]
