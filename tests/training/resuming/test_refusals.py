"""Refusals to start or continue a run, and the remedies in their messages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.checkpoints import checkpoints_in, save
from support.configs import config

from ppema.checkpoint.checkpoint import Checkpoint
from ppema.errors import CheckpointError, Remedy
from ppema.training.resuming.refusals import (
    check_in_place,
    check_new,
    check_not_lost,
    check_unmixed,
    newest_intact,
    with_its_weights,
)


@pytest.fixture
def checkpoints(tmp_path):
    return checkpoints_in(tmp_path)


def record(checkpoints, *records):
    lines = "".join(json.dumps(each) + "\n" for each in records)
    (checkpoints.folder.parent / "metrics.jsonl").write_text(lines)


def trained(step):
    return {"kind": "train", "step": step, "epoch": 1.0, "loss": 0.5, "lr": 0.1, "decay": {}}


def saved(step, **origin):
    return {"kind": "checkpoint", "step": step, **origin}


def refused(check, *arguments) -> tuple[str, Remedy | None]:
    with pytest.raises(CheckpointError) as caught:
        check(*arguments)
    return str(caught.value), caught.value.remedy


def test_a_run_that_has_begun_is_not_begun_again(checkpoints):
    output = checkpoints.folder.parent
    check_new(checkpoints)
    advice = "resume it (resume: auto) or choose another output"
    for found in (trained(1), saved(1)):
        record(checkpoints, found)
        assert refused(check_new, checkpoints)[0] == f"{output}: this run has records already: {advice}"
    save(checkpoints, 1)
    said, remedy = refused(check_new, checkpoints)
    assert said == f"{output}: this run has checkpoints already: {advice}"
    assert remedy == Remedy("to resume it", resume="auto")


def test_a_later_checkpoint_that_the_records_tell_of_is_missed(checkpoints):
    save(checkpoints, 4)
    record(checkpoints, saved(4))
    newest, skipped = newest_intact(checkpoints, Checkpoint.intact)
    assert (newest and newest.step, skipped) == (4, [])
    record(checkpoints, saved(4), saved(6))
    newest, skipped = newest_intact(checkpoints, Checkpoint.intact)
    missing = f"{checkpoints.folder}/step-00000006: it is missing, and metrics.jsonl says that it was saved"
    assert (newest and newest.step, skipped) == (4, [missing])


def test_where_none_is_intact_another_output_is_named_that_is_free(checkpoints):
    path = save(checkpoints, 4)
    (path / "manifest.json").write_text("{}")
    output = checkpoints.folder.parent
    output.with_name("run-2").mkdir()
    said, remedy = refused(newest_intact, checkpoints, Checkpoint.intact)
    assert said.startswith(f"{checkpoints.folder}: none of its checkpoints is intact: ")
    assert remedy == Remedy("to begin anew", resume="auto", overrides=(f"output={output}-3",))


def test_a_run_that_went_on_from_anothers_checkpoint_and_saved_none_goes_on_from_that_again(checkpoints):
    record(checkpoints, saved(4, origin="runs/a/checkpoints/step-00000004"))
    said, remedy = refused(check_not_lost, checkpoints, 10)
    assert said == (
        f"{checkpoints.folder}: it is missing, and the run went on from 'runs/a/checkpoints/step-00000004': go on from that "
        "again, or choose another output"
    )
    assert remedy == Remedy("to go on from it again", resume="runs/a/checkpoints/step-00000004")
    record(checkpoints, saved(4, origin="runs/\x1b[2J"))
    said, remedy = refused(check_not_lost, checkpoints, 10)
    assert r"'runs/\x1b[2J'" in said and remedy is None


def test_two_runs_are_not_mixed_in_one_folder(checkpoints, tmp_path):
    """Records of later steps alone belong to the same run, which was killed before it saved."""
    (tmp_path / "b").mkdir()
    other = checkpoints_in(tmp_path / "b")
    save(other, 5)
    found = other.find("last")
    for there in ([], [trained(6)], [saved(5, origin=str(found.path)), trained(6)]):
        record(checkpoints, *there)
        check_unmixed(checkpoints, found)
    for there in ([trained(5)], [trained(6), saved(6)]):
        record(checkpoints, *there)
        said, remedy = refused(check_unmixed, checkpoints, found)
        output = checkpoints.folder.parent
        assert said == (
            f"{output}: there are records of a run, and going on from {found.path} would mix two runs in one folder: choose "
            "another output"
        )
        assert remedy == Remedy("to do that", overrides=(f"output={output}-2",))


def test_what_was_renamed_is_gone_on_from_elsewhere(checkpoints):
    path = save(checkpoints, 4)
    check_in_place(checkpoints.find("last"))
    aside = path.rename(path.with_name(f"{path.name}.aside"))
    said, _ = refused(check_in_place, checkpoints.find(str(aside)))
    assert said == f"{aside}: it was set aside, or renamed: go on from it in another output"


PATHS = ["runs/a/step-1", "a b/c", "runs/#1", "ünder/x: y", 'quo"ted', "{x}", "~", "null", "yes", "1e3", ".5", "-x"]


@pytest.mark.parametrize("path", PATHS)
def test_a_path_in_a_command_comes_back_as_it_was(path):
    (override,) = with_its_weights(Path(path)).overrides
    assert config(override).init_from.path == path
