"""Links in a run's folder: their targets stay unchanged. A run's folder that is itself a link works like any other."""

from __future__ import annotations

import os
import shutil

import pytest
from support.checkpoints import checkpoints_in, names, save
from support.configs import loader, with_snapshots
from support.runs import content, last

from ppema.checkpoint.store import Checkpoints
from ppema.cli.checkpoint import main as checkpoint_main
from ppema.errors import SetupError
from ppema.log.records import read_metrics
from ppema.training.loop import train


@pytest.fixture
def config(tmp_path):
    return loader(tmp_path)


def everything(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("name", ["lock", "log.txt", "metrics.jsonl"])
@pytest.mark.parametrize("there", [True, False])
def test_a_file_that_is_a_link_is_refused_and_its_target_untouched(config, tmp_path, name, there):
    target = tmp_path / "precious"
    if there:
        target.write_text("mine\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(target)
    with pytest.raises(SetupError, match=f"run/{name}'?: it is a link|it is a link, .*run/{name}'$") as caught:
        train(config("train.stop_after=1 step"))
    assert len(str(caught.value).splitlines()) == 1
    assert (target.read_text() if there else target.exists()) == ("mine\n" if there else False)
    assert not (tmp_path / "run/checkpoints").exists()


def test_snapshots_that_lead_to_another_runs_checkpoints_delete_none(tmp_path):
    train(with_snapshots(tmp_path, f"output={tmp_path / 'other'}"))
    before = everything(tmp_path / "other")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/snapshots").symlink_to("../other/checkpoints")
    with pytest.raises(SetupError, match="run/snapshots: it is a link, and a run deletes and writes only in its own folder"):
        train(with_snapshots(tmp_path))
    assert everything(tmp_path / "other") == before
    assert names(tmp_path / "run") == ["snapshots"]


@pytest.mark.parametrize("name", ["checkpoints", "vdl"])
def test_a_folder_that_is_a_link_is_refused_before_anything_is_written(config, tmp_path, name):
    train(config("train.stop_after=3 steps"))
    (tmp_path / "run" / name).rename(tmp_path / "elsewhere")
    (tmp_path / "run" / name).symlink_to("../elsewhere")
    before = everything(tmp_path)
    with pytest.raises(SetupError, match=f"run/{name}: it is a link"):
        train(config())
    assert everything(tmp_path) == before


def test_a_run_whose_whole_folder_is_a_link_is_ordinary(config, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to("disk")
    train(config("train.stop_after=12 steps"))
    assert train(config(), resume=str(tmp_path / "disk/checkpoints/last")).state.step == 28
    train(config(f"output={tmp_path / 'whole'}"))
    assert content(last(tmp_path / "disk"))["raw.safetensors"] == content(last(tmp_path / "whole"))["raw.safetensors"]
    assert (tmp_path / "run").is_symlink()


def test_a_newest_checkpoint_that_is_a_link_is_gone_on_from(config, tmp_path):
    train(config("train.stop_after=13 steps"))
    newest, moved = last(tmp_path / "run"), tmp_path / "moved"
    newest.rename(moved)
    newest.symlink_to(moved)
    kept = everything(moved)
    assert train(config("train.keep=1")).state.step == 28
    assert f"{newest} is a link to {moved}\nresuming at step 13 of 28\n" in (tmp_path / "run/log.txt").read_text()
    assert everything(moved) == kept and not newest.is_symlink(), "the link goes when it is superfluous, and nothing else"
    train(config(f"output={tmp_path / 'whole'}"))
    assert content(last(tmp_path / "run"))["raw.safetensors"] == content(last(tmp_path / "whole"))["raw.safetensors"]


def test_a_newest_checkpoint_that_leads_nowhere_is_skipped(config, tmp_path):
    train(config())
    newest, whole = last(tmp_path / "run"), content(last(tmp_path / "run"))
    shutil.rmtree(newest)
    newest.symlink_to("nowhere")
    train(config())
    said = (tmp_path / "run/log.txt").read_text()
    assert f"skipped {newest}: damaged: it is a link to nowhere, which is missing\n" in said
    assert content(last(tmp_path / "run")) == whole


def test_a_step_that_is_a_link_is_replaced_by_what_is_saved(tmp_path):
    checkpoints = checkpoints_in(tmp_path)
    path = save(checkpoints, 1)
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    kept = everything(tmp_path / "moved")
    save(checkpoints, 1)
    assert not path.is_symlink() and checkpoints.find("last").path == path
    assert everything(tmp_path / "moved") == kept


def test_prune_deletes_nothing_through_a_link(tmp_path, capsys):
    checkpoints = Checkpoints(checkpoints_in(tmp_path).folder, keep=9)
    for step in (1, 2, 3):
        save(checkpoints, step)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/checkpoints").symlink_to(checkpoints.folder)
    assert checkpoint_main(["prune", str(tmp_path / "linked"), "--keep", "1"]) == 2
    assert capsys.readouterr().err.startswith(f"{tmp_path / 'linked/checkpoints'}: it is a link, and a run deletes")
    assert names(checkpoints.folder) == ["last", "step-00000001", "step-00000002", "step-00000003"]
    (tmp_path / "whole").symlink_to("run")
    assert checkpoint_main(["prune", str(tmp_path / "whole"), "--keep", "1"]) == 0
    assert names(checkpoints.folder) == ["last", "step-00000003"]


def test_what_lies_beside_visualdls_files_stays(config, tmp_path):
    train(config("train.stop_after=12 steps"))
    (tmp_path / "run/vdl/raw/notes.txt").write_text("mine")
    train(config())
    assert (tmp_path / "run/vdl/raw/notes.txt").read_text() == "mine"
    assert len(list((tmp_path / "run/vdl/raw").glob("*.log"))) == 1
    assert read_metrics(tmp_path / "run")[-1]["step"] == 28
    assert os.path.getsize(next((tmp_path / "run/vdl/train").glob("*.log"))) > 1000


def test_nor_is_a_folder_of_visualdls_a_link(config, tmp_path):
    train(config("train.stop_after=3 steps"))
    (tmp_path / "run/vdl/raw").rename(tmp_path / "elsewhere")
    (tmp_path / "run/vdl/raw").symlink_to("../../elsewhere")
    before = everything(tmp_path / "elsewhere")
    with pytest.raises(SetupError, match="run/vdl/raw: it is a link"):
        train(config())
    assert everything(tmp_path / "elsewhere") == before
