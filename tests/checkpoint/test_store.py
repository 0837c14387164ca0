"""The checkpoints of a run: pruning, and the pointers to the last and the best."""

from __future__ import annotations

import os

import pytest
from support.checkpoints import PARTS, RAW, checkpoints_in, names, save

from ppema.checkpoint.best import Best
from ppema.checkpoint.checkpoint import Checkpoint
from ppema.checkpoint.store import Checkpoints, check_pointers, pointer_of
from ppema.errors import CheckpointError, ConfigError, TrainingError


@pytest.fixture
def checkpoints(tmp_path):
    return checkpoints_in(tmp_path)


def test_the_newest_and_the_best_are_kept(checkpoints):
    for step in range(1, 7):
        save(checkpoints, step, *["best"] * (step == 2), *["best-raw-loss"] * (step == 3))
    assert names(checkpoints.folder) == [
        *("best", "best-raw-loss", "last"),
        *("step-00000002", "step-00000003", "step-00000005", "step-00000006"),
    ]
    assert checkpoints.find("best").step == 2
    assert checkpoints.find("best-raw-loss").step == 3
    assert checkpoints.find("last").step == 6
    assert checkpoints.pointers() == {"best": "step-00000002", "best-raw-loss": "step-00000003", "last": "step-00000006"}


def test_the_first_of_every_so_many_steps_is_kept_for_good(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1, keep_every=10)
    for step in (3, 9, 12, 15, 21, 24, 27, 40, 41):
        save(checkpoints, step)
    assert names(tmp_path) == ["last", *(f"step-{step:08d}" for step in (12, 21, 40, 41))]


def test_nothing_else_is_deleted(checkpoints):
    others = ("notes.txt", "step-mine", "step-00000001.aside", ".step-00000001")
    for step in range(1, 6):
        save(checkpoints, step)
        for name in others:
            (checkpoints.folder / name).mkdir(exist_ok=True)
    assert set(others) < set(names(checkpoints.folder))
    (checkpoints.folder / "best").write_text("damaged")
    save(checkpoints, 6)
    assert "step-00000004" in names(checkpoints.folder), "as long as nobody knows what the best is"


def test_the_last_ones_are_those_that_were_saved_last(checkpoints):
    for step in range(1, 6):
        save(checkpoints, step, *["best"] * (step == 2))
    assert [each.step for each in checkpoints.newest(2)] == [4, 5]
    with pytest.raises(CheckpointError, match="it has 2 of the last 3 checkpoints: the run kept train.keep, "):
        checkpoints.newest(3)


def test_steps_of_nine_digits_come_after_those_of_eight(checkpoints):
    for step in (99_999_999, 100_000_000, 100_000_001):
        save(checkpoints, step)
    assert names(checkpoints.folder) == ["last", "step-100000000", "step-100000001"]


def test_saving_a_step_again_replaces_it(checkpoints):
    save(checkpoints, 1)
    (checkpoints.folder / "step-00000001/more").touch()
    path = save(checkpoints, 1, parts={**PARTS, "raw": {"w": RAW["w"] + 1}})
    assert names(path) == ["average-ema.safetensors", "manifest.json", "raw.safetensors"]
    assert checkpoints.find("last").arrays("raw")["w"].tolist() == [[2.5, -1.0]]


def test_the_names_of_the_best():
    monitors = ("ema/accuracy", "raw/loss", "long-one/my metric")
    assert [pointer_of(each, monitors) for each in monitors] == ["best", "best-raw-loss", "best-long-one-my_metric"]


def test_two_monitors_that_would_share_a_file_are_refused():
    check_pointers(("x/a", "a/b", "a/c"))
    with pytest.raises(ConfigError, match=r"monitor: 'a/b-c' and 'a-b/c' would both have their best in one file: rename an"):
        check_pointers(("x/a", "a/b-c", "a-b/c"))


def test_what_is_not_a_checkpoint_is_named(checkpoints, tmp_path):
    with pytest.raises(CheckpointError, match="last: there is no last checkpoint: train first"):
        checkpoints.find("last")
    with pytest.raises(CheckpointError, match="best-raw-loss: there is no best-raw-loss checkpoint: set train.monitor"):
        checkpoints.find("best-raw-loss")
    with pytest.raises(
        CheckpointError, match="elsewhere: there is no checkpoint: name the path of one, of a run, or of its last"
    ):
        checkpoints.find(str(tmp_path / "elsewhere"))
    with pytest.raises(CheckpointError, match=r"manifest.json: No such file or directory: this is no checkpoint"):
        checkpoints.find(str(tmp_path))


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"../../elsewhere", b"step-1/..", b"step-00000001\n", b"step-00000001 0\nstep-00000002 0\n"]
)
def test_a_damaged_pointer_is_refused(checkpoints, content):
    save(checkpoints, 1)
    (checkpoints.folder / "last").write_bytes(content)
    with pytest.raises(CheckpointError, match="last: damaged: it names no checkpoint"):
        checkpoints.find("last")
    assert checkpoints.pointers() == {"last": "damaged"}


def test_a_pointer_of_which_a_digit_changed_leads_nowhere(checkpoints):
    """A pointer with the checksum of another checkpoint is refused, although the folder that it names exists."""
    save(checkpoints, 2)
    save(checkpoints, 3)
    last = checkpoints.folder / "last"
    last.write_text(last.read_text().replace("step-00000003", "step-00000002"))
    with pytest.raises(CheckpointError, match="last: damaged: step-00000002 is not the checkpoint that it named"):
        checkpoints.find("last")


def test_none_that_is_intact_is_an_error_that_names_all(checkpoints):
    for step in (1, 2):
        (save(checkpoints, step) / "raw.safetensors").unlink()
    said = "none of its checkpoints is intact: .*step-00000002/raw.safetensors: No such.*; .*step-00000001/raw.safetensors"
    with pytest.raises(CheckpointError, match=said):
        checkpoints.newest_intact()


def test_going_on_from_an_earlier_one_sets_the_later_ones_aside(checkpoints):
    checkpoints = Checkpoints(checkpoints.folder, keep=9)
    for step in (1, 2, 3, 4):
        save(checkpoints, step, *["best"] * (step == 3), *["best-raw-loss"] * (step == 1))
    for left in (".step-00000004.123", ".last.77"):
        (checkpoints.folder / left).mkdir()
    (checkpoints.folder / "best-notes.txt").write_text("mine")
    best = {"best-raw-loss": Best("raw/loss", 0.5, 1)}
    aside = checkpoints.go_on_from(Checkpoint.open(checkpoints.folder / "step-00000002"), best)
    assert [path.name for path in aside] == ["step-00000003.aside", "step-00000004.aside"]
    assert (checkpoints.folder / "best-notes.txt").read_text() == "mine"
    (checkpoints.folder / "best-notes.txt").unlink()
    assert checkpoints.pointers() == {"best-raw-loss": "step-00000001", "last": "step-00000002"}
    assert not list(checkpoints.folder.glob(".*"))
    save(checkpoints, 3)
    checkpoints.go_on_from(Checkpoint.open(checkpoints.folder / "step-00000002"), best)
    assert (checkpoints.folder / "step-00000003.aside-2").is_dir()


def test_what_a_kill_left_unnamed_is_named_on_going_on(checkpoints):
    save(checkpoints, 1, "best")
    before = {name: (checkpoints.folder / name).read_bytes() for name in ("best", "last")}
    save(checkpoints, 2, "best")
    for name, content in before.items():
        (checkpoints.folder / name).write_bytes(content)
    checkpoints.go_on_from(Checkpoint.open(checkpoints.folder / "step-00000002"), {"best": Best("raw/loss", 0.5, 2)})
    assert checkpoints.find("last").step == checkpoints.find("best").step == 2


def test_a_pointer_that_is_no_small_file_is_refused(checkpoints):
    save(checkpoints, 1)
    last = checkpoints.folder / "last"
    last.unlink()
    os.mkfifo(last)
    with pytest.raises(CheckpointError, match=f"^{last}: it is no regular file$"):
        checkpoints.find("last")
    with pytest.raises(CheckpointError, match=f"^{last}: it is no regular file$"):
        checkpoints.superfluous()
    last.unlink()
    last.touch()
    os.truncate(last, 2**40)
    with pytest.raises(CheckpointError, match=f"^{last}: damaged: it has {2**40} bytes, and never more than 1000 were writ"):
        checkpoints.find("last")


def test_a_reader_of_last_follows_a_run_that_goes_on(checkpoints):
    """With `keep: 1`, the target of `last` is deleted as soon as `last` names the next checkpoint."""
    checkpoints, steps = Checkpoints(checkpoints.folder, keep=1), iter((2, 3))
    save(checkpoints, 1)

    def overtaken(path):
        for step in steps:
            save(checkpoints, step)
            break
        return Checkpoint.intact(path)

    assert checkpoints.find("last", overtaken).step == 3
    (checkpoints.folder / "step-00000003/manifest.json").unlink()
    with pytest.raises(CheckpointError, match="step-00000003/manifest.json: No such file"):
        checkpoints.find("last")


def test_a_manifest_that_claims_to_be_huge_is_not_read(checkpoints):
    save(checkpoints, 1)
    save(checkpoints, 2)
    os.truncate(checkpoints.folder / "step-00000002/manifest.json", 2**40)
    found, skipped = checkpoints.newest_intact()
    assert found is not None and found.step == 1
    assert [f"has {2**40} bytes" in line for line in skipped] == [True]


def test_a_pipe_in_the_place_of_a_step_is_an_error_and_no_wait(checkpoints):
    save(checkpoints, 1)
    os.mkfifo(checkpoints.folder / "step-00000002")
    with pytest.raises(TrainingError, match="the checkpoint could not be written: .*Not a directory"):
        save(checkpoints, 2)
    assert checkpoints.find("last").step == 1


@pytest.mark.parametrize("place", ["file", "dangling link"])
def test_what_is_no_folder_in_the_place_of_the_checkpoints_is_said_before_the_run(checkpoints, place):
    if place == "file":
        checkpoints.folder.touch()
    else:
        checkpoints.folder.symlink_to("nowhere")
    with pytest.raises(CheckpointError, match="it is no folder, which the run needs there: remove it, or choose an"):
        checkpoints.clear()
