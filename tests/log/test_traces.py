"""Runs whose checkpoints are gone, for example with an unmounted disk: nothing starts again, is cut or deleted."""

from __future__ import annotations

import json
import shutil

import pytest
from support.checkpoints import names, without_privileges
from support.configs import loader, with_snapshots
from support.runs import content, last, losses

from ppema.checkpoint.state import Losses
from ppema.errors import CheckpointError
from ppema.log.interval import Interval
from ppema.log.log import RunLog
from ppema.log.records import newest_saved
from ppema.log.terminal.progress import progress
from ppema.log.traces import lost
from ppema.posthoc.snapshots import snapshots_of
from ppema.training.loop import train


@pytest.fixture
def config(tmp_path):
    return loader(tmp_path)


def everything(folder):
    found = {}
    for path in sorted(folder.rglob("*")):
        found[str(path.relative_to(folder))] = path.read_bytes() if path.is_file() else None
    return found


def missing(folder):
    shutil.rmtree(folder)


def empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize(
    ("gone", "found", "steps"),
    [(missing, "it is missing", 10), (empty, "it holds no checkpoint", 28)],
    ids=["missing", "empty"],
)
def test_a_run_that_lost_its_checkpoints_is_not_begun_anew(config, tmp_path, gone, found, steps):
    """Even if only one checkpoint was saved, right at the end of the records."""
    train(config(f"train.stop_after={steps} steps"))
    gone(tmp_path / "run/checkpoints")
    before = everything(tmp_path)
    said = (
        f"run/checkpoints: {found}, but metrics.jsonl says that a checkpoint of step {steps} was saved: mount or restore what "
        "is missing, or begin anew in another output; nothing was changed$"
    )
    with pytest.raises(CheckpointError, match=said) as caught:
        train(config())
    assert everything(tmp_path) == before
    remedy = caught.value.remedy
    assert remedy is not None and remedy.overrides == (f"output={tmp_path}/run-2",)
    assert train(config("train.stop_after=1 step", *remedy.overrides)).state.step == 1


def test_one_that_goes_on_after_its_return_ends_as_an_undisturbed_one(config, tmp_path):
    train(config(f"output={tmp_path / 'whole'}"))
    train(config("train.stop_after=13 steps"))
    (tmp_path / "run/checkpoints").rename(tmp_path / "disk")
    with pytest.raises(CheckpointError):
        train(config())
    (tmp_path / "disk").rename(tmp_path / "run/checkpoints")
    train(config())
    assert content(last(tmp_path / "run"))["raw.safetensors"] == content(last(tmp_path / "whole"))["raw.safetensors"]


def test_so_is_one_whose_records_are_gone_too(config, tmp_path):
    train(config())
    shutil.rmtree(tmp_path / "run/checkpoints")
    (tmp_path / "run/metrics.jsonl").unlink()
    before = everything(tmp_path)
    with pytest.raises(CheckpointError, match="run/checkpoints: it is missing, but vdl has records: mount or restore"):
        train(config())
    assert everything(tmp_path) == before


def test_snapshots_alone_tell_of_it(tmp_path):
    train(with_snapshots(tmp_path))
    for name in ("checkpoints", "vdl"):
        shutil.rmtree(tmp_path / "run" / name)
    (tmp_path / "run/metrics.jsonl").unlink()
    before = everything(tmp_path / "run")
    with pytest.raises(CheckpointError, match="run/checkpoints: it is missing, but snapshots has one of step "):
        train(with_snapshots(tmp_path))
    assert everything(tmp_path / "run") == before


def test_records_of_a_version_that_did_not_say_what_was_saved_tell_by_their_steps(config, tmp_path):
    """The second save, at step 20, waits for the first, so later records had a checkpoint."""
    train(config())
    file = tmp_path / "run/metrics.jsonl"
    file.write_text("".join(line for line in file.read_text().splitlines(True) if '"checkpoint"' not in line))
    assert newest_saved(tmp_path / "run") is None
    shutil.rmtree(tmp_path / "run/checkpoints")
    with pytest.raises(CheckpointError, match="it is missing, but metrics.jsonl has records up to step 28: mount or"):
        train(config())


def test_a_run_that_was_killed_before_it_saved_begins_anew_and_keeps_what_was_there(config, tmp_path):
    train(config(f"output={tmp_path / 'whole'}"))
    output, record = tmp_path / "run", {"kind": "train", "step": 5, "epoch": 1.0, "loss": 0.5, "lr": 0.1, "decay": {}}
    output.mkdir()
    with progress(1, 0) as bar, RunLog(output, bar, step=0) as log:
        log.train(5, 1.0, Interval(Losses(1, 0.5)), lr=0.1, skipped=0, health={}, norms={}, memory={})
    (output / "checkpoints/.step-00000010.12345").mkdir(parents=True)
    train(config())
    assert losses(output) == losses(tmp_path / "whole")
    assert json.loads((output / "metrics.jsonl.aside").read_text())["step"] == record["step"]
    assert content(last(output))["raw.safetensors"] == content(last(tmp_path / "whole"))["raw.safetensors"]


def test_a_folder_that_may_not_be_read_is_no_empty_one(config, tmp_path, monkeypatch):
    train(config("train.stop_after=12 steps"))
    before, folder, again = everything(tmp_path), tmp_path / "run/checkpoints", config("output=run")
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o777)
    (tmp_path / "run").chmod(0o777)
    folder.chmod(0)
    with without_privileges(), pytest.raises(CheckpointError) as caught:
        train(again)
    assert str(caught.value) == "run/checkpoints: it can not be read: Permission denied"
    folder.chmod(0o755)
    assert everything(tmp_path) == before


def test_a_checkpoint_that_vanished_is_told_and_what_was_later_is_kept(tmp_path):
    config = with_snapshots(tmp_path, "train.keep=9", "train.epochs=2")
    train(config)
    shutil.rmtree(last(tmp_path / "run"))
    records = (tmp_path / "run/metrics.jsonl").read_bytes()
    steps, kept = snapshots_of(config).steps(), everything(tmp_path / "run/snapshots/step-00000020")
    train(config)
    output = tmp_path / "run"
    said = (output / "log.txt").read_text()
    assert "skipped " in said and "step-00000020: it is missing, and last names it\n" in said
    assert (output / "metrics.jsonl.aside").read_bytes() == records
    assert everything(output / "snapshots.aside/step-00000020") == kept
    assert snapshots_of(config).steps() == steps and names(output / "snapshots.aside") == ["step-00000020"]


def test_visualdls_records_stay_where_they_are_the_only_ones(config, tmp_path):
    train(config("train.stop_after=12 steps"))
    before = everything(tmp_path / "run/vdl")
    (tmp_path / "run/metrics.jsonl").unlink()
    train(config())
    assert everything(tmp_path / "run/vdl.aside") == before
    assert f"set aside as {tmp_path}/run/vdl.aside\n" in (tmp_path / "run/log.txt").read_text()


def test_damaged_snapshots_are_told_on_resuming(tmp_path):
    train(with_snapshots(tmp_path, "train.stop_after=15 steps"))
    file = tmp_path / "run/snapshots/step-00000010/average-wide.safetensors"
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 1
    file.write_bytes(damaged)
    train(with_snapshots(tmp_path))
    said = f"warning: {file}: damaged: its checksum is not that of what was written; no average can be built with it\n"
    assert (tmp_path / "run/log.txt").read_text().count(said) == 1


def test_a_run_of_another_folder_that_saved_nothing_yet_goes_on_from_there_again(config, tmp_path):
    """Without the checkpoint from which it continued, it would silently start from the initial values."""
    train(config("train.stop_after=13 steps"))
    source, output = last(tmp_path / "run"), tmp_path / "other"
    train(config(f"output={output}", "train.stop_after=15 steps"), resume=str(source))
    shutil.rmtree(output / "checkpoints")
    file = output / "metrics.jsonl"
    # The records after a kill before the first save.
    file.write_text("".join(line for line in file.read_text().splitlines(True) if '"step": 15' not in line))
    with pytest.raises(
        CheckpointError, match=f"other/checkpoints: it is missing, and the run went on from '{source}': go on"
    ) as caught:
        train(config(f"output={output}"))
    assert caught.value.remedy is not None and caught.value.remedy.resume == str(source)
    assert train(config(f"output={output}"), resume=caught.value.remedy.resume).state.step == 28


def test_signs_of_a_checkpoint_by_hand(tmp_path):
    """With a save every 10 steps: the second save waits for the first, so records after step 20 prove a checkpoint."""

    def sign(*records, snapshots=(), figures=None):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        for folder in ("vdl/raw", *(f"snapshots/step-{step:08d}" for step in snapshots)):
            (tmp_path / "run" / folder).mkdir(parents=True)
        if figures is not None:
            (tmp_path / "run/vdl" / figures[0]).write_bytes(b"x" * figures[1])
        (tmp_path / "run/metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
        return lost(tmp_path / "run", 10)

    def trained(step):
        return {"kind": "train", "step": step, "epoch": 1.0, "loss": 0.5, "lr": 0.1, "decay": {}}

    assert lost(tmp_path / "absent", 10) is None
    assert sign({"kind": "checkpoint", "step": 4}) == "metrics.jsonl says that a checkpoint of step 4 was saved"
    assert sign(trained(5), trained(20)) is None
    assert sign(trained(5), trained(21)) == "metrics.jsonl has records up to step 21"
    assert sign(trained(5), snapshots=[10, 20]) is None
    assert sign(trained(5), snapshots=[10, 21]) == "snapshots has one of step 21"
    assert sign(snapshots=[10]) == "snapshots has one of step 10"
    # VisualDL's file begins with up to 64 bytes about itself. Older versions had one in vdl itself.
    assert sign(figures=("vdlrecords.1.log", 64)) is None
    for file in ("vdlrecords.1.log", "raw/vdlrecords.1.log"):
        assert sign(figures=(file, 65)) == "vdl has records"
    assert sign(trained(5), figures=("vdlrecords.1.log", 65)) is None
    assert sign(figures=("notes.log", 65)) is None
