"""Snapshots: taken during a run, equal in an interrupted run, removed if a run was killed after them."""

from __future__ import annotations

import os
import shutil

import pytest
from support.configs import with_snapshots

from ppema.checkpoint.manifest import parse, sealed
from ppema.checkpoint.store import Checkpoints
from ppema.config.horizon import Horizon
from ppema.errors import CheckpointError, ConfigError, TrainingError
from ppema.posthoc.snapshots import SnapshotManifest, Tracked, snapshots_of
from ppema.training.loop import train


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The folder of a run of 40 steps."""
    folder = tmp_path_factory.mktemp("snapshots")
    train(with_snapshots(folder, "train.epochs=4"))
    return folder


@pytest.fixture
def copied(done, tmp_path):
    """The config of a copy of the run, which a test may damage."""
    shutil.copytree(done / "run", tmp_path / "run")
    return with_snapshots(tmp_path, "train.epochs=4")


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_what_a_run_leaves(done):
    folder = done / "run/snapshots"
    assert sorted(os.listdir(folder)) == [f"step-{step:08d}" for step in (10, 20, 30, 40)]
    assert sorted(os.listdir(folder / "step-00000010")) == [
        "average-narrow.safetensors",
        "average-wide.safetensors",
        "manifest.json",
        "rest.safetensors",
    ]
    snapshots = snapshots_of(with_snapshots(done))
    last = snapshots.until(None)[-1]
    checkpoint = Checkpoints(done / "run/checkpoints").find("last")
    for name in ("narrow", "wide"):
        wanted = checkpoint.weights(name)
        assert {key: value.tobytes() for key, value in last.average(name).items()} == {
            key: value.tobytes() for key, value in wanted.items()
        }
    assert last.rest() == {}
    assert (last.horizon.steps_per_epoch, last.horizon.batch_size, last.horizon.total_steps) == (10, 8, 40)
    assert [each.step for each in snapshots.until(30)] == [10, 20, 30]


def test_the_last_step_has_one_whatever_its_number(tmp_path):
    config = with_snapshots(tmp_path, "train.stop_after=13 steps")
    train(config)
    assert snapshots_of(config).steps() == [10, 13]


def test_none_are_taken_unless_asked_for_nor_before_an_average_begins(tmp_path):
    config = with_snapshots(tmp_path, "train.snapshot_every=null", "train.stop_after=10 steps")
    train(config)
    assert not (tmp_path / "run/snapshots").exists()
    given = f"output={tmp_path / 'b'}", "train.stop_after=25 steps", "averages.narrow.start=20 steps"
    config = with_snapshots(tmp_path, *given)
    train(config)
    assert [sorted(each.manifest.averages) for each in snapshots_of(config).until(None)] == [["wide"]] * 2 + [
        ["narrow", "wide"]
    ]
    config = with_snapshots(tmp_path, "output=" + str(tmp_path / "c"), "averages={late: {sigma_rel: 0.1, start: 15 steps}}")
    train(config.replace(train=config.train.replace(epochs=2)))
    assert snapshots_of(config).steps() == [20]


def test_a_run_that_was_cut_off_leaves_none_behind(done, tmp_path):
    """A run of 25 steps that saved at 20, with a snapshot of step 25 that the whole run would not have taken."""
    config = with_snapshots(tmp_path, "train.epochs=4", "train.stop_after=25 steps")
    train(config)
    assert snapshots_of(config).steps() == [10, 20, 25]
    checkpoints = tmp_path / "run/checkpoints"
    shutil.rmtree(checkpoints / "step-00000025")
    (checkpoints / "last").write_text("step-00000020\n")
    train(with_snapshots(tmp_path, "train.epochs=4"))
    assert content(tmp_path / "run/snapshots") == content(done / "run/snapshots")


def test_another_interval_does_not_hinder_resuming(tmp_path):
    train(with_snapshots(tmp_path, "train.stop_after=20 steps"))
    config = with_snapshots(tmp_path, "train.stop_after=24 steps", "train.snapshot_every=2 steps")
    train(config)
    assert snapshots_of(config).steps() == [10, 20, 22, 24]


def test_there_is_nothing_to_snapshot(tmp_path):
    with pytest.raises(ConfigError) as caught:
        with_snapshots(tmp_path, "averages={ema: {decay: 0.9}}")
    said = "train.snapshot_every: no average has a sigma_rel to take snapshots of: give it to two, 0.05 and 0.10"
    assert str(caught.value).endswith(said)
    assert len(str(caught.value).splitlines()) == 1


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    config = with_snapshots(tmp_path, "train.save_every=100 steps")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ppema.checkpoint.folder.write_file", full)
    with pytest.raises(TrainingError, match="step-00000010: the snapshot could not be written: .*No space left"):
        train(config)
    assert os.listdir(tmp_path / "run/snapshots") == []


def test_steps_of_which_there_is_none(copied, tmp_path):
    snapshots = snapshots_of(copied)
    for step in (9, 41):
        with pytest.raises(CheckpointError, match=f"snapshots: there are snapshots of steps 10 to 40, not of step {step}"):
            snapshots.until(step)
    shutil.rmtree(tmp_path / "run/snapshots")
    with pytest.raises(CheckpointError, match="snapshots: there are no snapshots: set train.snapshot_every and give two"):
        snapshots.until(None)


BACKWARDS = Tracked.model_construct(sigma_rel=0.1, gamma=-7.0, begin=0, every=1)


def changed(file, **values):
    """A manifest that a wrong writer, rather than a damaged disk, would have produced."""
    manifest = parse(SnapshotManifest, file.read_bytes())
    return sealed(manifest.model_copy(update=values))[0].decode()


DAMAGED = {
    "empty": lambda file: "",
    "a byte": lambda file: file.read_text().replace('"step": 20', '"step": 30'),
    "format": lambda file: changed(file, format=3),
    "more updates than steps": lambda file: changed(file, updates=21),
    "another step": lambda file: changed(file, step=30),
    "before its begin": lambda file: changed(file, averages={"a": Tracked(sigma_rel=0.1, gamma=7.0, begin=50, every=1)}),
    "no average": lambda file: changed(file, averages={}),
    "a horizon of no epoch": lambda file: changed(file, horizon=Horizon(10, 4, 0)),
    "negative": lambda file: changed(file, averages={"a": BACKWARDS}),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_manifest_is_refused_in_one_line(copied, damage):
    file = snapshots_of(copied).folder / "step-00000020/manifest.json"
    file.write_text(damage(file))
    with pytest.raises(CheckpointError, match="step-00000020/manifest.json: damaged") as caught:
        snapshots_of(copied).until(None)
    assert len(str(caught.value).splitlines()) == 1
    file.unlink()
    with pytest.raises(CheckpointError, match="manifest.json: No such file or directory: this is no snapshot of ppema"):
        snapshots_of(copied).until(None)
