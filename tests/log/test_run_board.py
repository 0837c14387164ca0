"""The VisualDL files of a run, written from records: no run is trained here."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from support.drawn import drawn, drawn_tags, records

from ppema.log.board import BoardFile
from ppema.log.run_board import RunBoard, draw_hyperparameters


def evaluation(step, weights, **figures):
    return {"kind": "eval", "step": step, "epoch": 1.0, "weights": weights, **figures}


def trained(step, **figures):
    return {"kind": "train", "step": step, "epoch": 1.0, "loss": 0.5, "lr": 0.1, "decay": {"ema": 0.9}, **figures}


def board_of(folder, *records, step=0, **arguments):
    (folder / "vdl").parent.mkdir(exist_ok=True)
    board = RunBoard(folder / "vdl", **arguments)
    board.begin(records, step)
    return board


def test_the_monitored_metric_comes_first_and_its_gain_second(tmp_path):
    figures = {"loss": 0.5, "top5": None, "accuracy": 0.75, "confusion_matrix": [[1, 2], [3, 4]]}
    board = board_of(tmp_path, first=["accuracy", "top5", "accuracy", "absent"])
    board.draw(evaluation(2, "raw", **figures))
    board.draw(evaluation(2, "ema", **figures | {"accuracy": 0.875}))
    board.draw(evaluation(4, "ema", **figures))
    board.close()
    tags = ["eval/accuracy", "eval/accuracy minus raw", "eval/loss"]
    assert drawn_tags(tmp_path, "raw") == drawn_tags(tmp_path, "ema") == tags
    # Step 4 has no raw weights.
    assert drawn(tmp_path, "ema", "eval/accuracy minus raw") == [(2, 0.125)]
    assert drawn(tmp_path, "ema", "eval/accuracy") == [(2, 0.875), (4, 0.75)]


def test_groups_sort_with_the_evaluations_first(tmp_path):
    """VisualDL opens only the first group by name."""
    health = {"ema": {"window": 9.0, "distance": None, "stalled": 0.0, "groups": {"conv": 0.25}}}
    board_of(tmp_path, evaluation(2, "raw", loss=0.5), evaluation(2, "ema", loss=0.25), trained(2, health=health)).close()
    found = {tag.partition("/")[0] for name in ("raw", "ema", "train") for tag in drawn_tags(tmp_path, name)}
    assert min(found, key=str.upper) == "eval"
    assert drawn_tags(tmp_path, "ema") == ["eval/loss", "eval/loss minus raw", *HEALTH]
    assert drawn_tags(tmp_path, "train") == ["train/loss", "train/lr"]


HEALTH = ["health/decay", "health/window", "health/stalled", "layers/conv"]


@pytest.mark.parametrize("layout", ["former", "present"])
def test_a_resumed_run_has_each_record_once_and_none_after_its_step(tmp_path, layout):
    """Scalars come from metrics.jsonl, images and histograms from the files; the former layout had one file, of scalars."""
    lines = [evaluation(step, weights, loss=1 / step) for step in (2, 4) for weights in ("raw", "ema")]
    if layout == "present":
        board = board_of(tmp_path, *lines)
        for step in (2, 4, 5):
            board.image("ema", "predictions", np.full((2, 3, 3), step, np.uint8), step)
            board.histogram("raw", "weights/conv", np.arange(step), np.arange(step + 1.0), step)
        board.draw(evaluation(5, "ema", loss=0.25))
        board.close()
    else:
        (tmp_path / "vdl").mkdir()
        old = BoardFile(tmp_path / "vdl")
        old.scalar("loss/ema", 0.25, 4)
        old.flush()
        old.close()
    (file,) = (tmp_path / "vdl").rglob("ema/*.log") if layout == "present" else (tmp_path / "vdl").glob("*.log")
    with file.open("ab") as cut:
        cut.write(b"\x40\0\0\0\0\0\0\0 a record that a killed process did not finish")
    for name in ("raw", "ema") if layout == "present" else ():
        # As of a process that was killed after it had copied the older file, and before it deleted that.
        (older,) = (tmp_path / "vdl" / name).glob("*.log")
        shutil.copy(older, older.with_name("vdlrecords.0000000001.log"))
    board_of(tmp_path, *lines, step=4).close()
    assert not file.exists() and not list((tmp_path / "vdl").glob("*.log"))
    for weights in ("raw", "ema"):
        assert drawn(tmp_path, weights, "eval/loss") == [(2, 0.5), (4, 0.25)]
    if layout == "present":
        images = records(tmp_path, "ema", "image", "predictions")
        histograms = records(tmp_path, "raw", "histogram", "weights/conv")
        assert [each.id for each in images] == [each.id for each in histograms] == [2, 4]
        assert list(histograms[1].histogram.hist) == [0, 1, 2, 3]


def test_hyperparameters_of_an_ended_run_are_kept_when_it_goes_on(tmp_path):
    lines = [evaluation(2, weights, loss=0.5) for weights in ("raw", "ema")]
    board_of(tmp_path, *lines, trained(2)).close()
    values = {"lr.args.learning_rate": 0.125, "model.args.widths": [4, 8], "data.train.batch_size": 8, "amp": True, "name": "a"}
    draw_hyperparameters(tmp_path / "vdl", values, "loss")
    board_of(tmp_path, *lines, step=2).close()
    for weights in ("raw", "ema"):
        (found,) = records(tmp_path, weights, "hyper_parameters", "hparam")
        assert [each.name for each in found.hparam.metricInfos] == ["eval/loss"]
        shown = {each.name: getattr(each, each.WhichOneof("type")) for each in found.hparam.hparamInfos}
        assert shown == {
            "lr/args/learning_rate": 0.125,
            "model/args/widths": "[4, 8]",
            "data/train/batch_size": 8,
            "amp": "true",
            "name": "a",
            "weights": weights,
        }
    assert drawn_tags(tmp_path, "train", "hyper_parameters") == []


def test_the_config_alone_is_no_figure(tmp_path):
    """A run that was killed at once may start anew: VisualDL's files must not say that it went far."""
    from ppema.log.run_board import drawn as has_drawn

    board = board_of(tmp_path)
    board.config("seed: 1\n" * 100, 0)
    assert not has_drawn(tmp_path / "vdl")
    board.draw(trained(5))
    board.close()
    assert has_drawn(tmp_path / "vdl")
    assert drawn_tags(tmp_path, "train", "text") == ["config"]


def test_every_file_is_written_although_one_fails(tmp_path, monkeypatch):
    board = board_of(tmp_path, evaluation(2, "raw", loss=0.5), evaluation(2, "ema", loss=0.25))
    flush = BoardFile.flush

    def failing(self):
        if self.folder.name == "raw":
            raise OSError(28, "No space left on device")
        flush(self)

    with monkeypatch.context() as patch:
        patch.setattr(BoardFile, "flush", failing)
        with pytest.raises(OSError, match="No space left"):
            board.draw(evaluation(4, "raw", loss=0.5))
        with pytest.raises(OSError, match="No space left"):
            board.draw(evaluation(4, "ema", loss=0.25))
    assert [step for step, _ in drawn(tmp_path, "ema", "eval/loss")] == [2, 4]
    assert [step for step, _ in drawn(tmp_path, "raw", "eval/loss")] == [2]
    board.flush()
    board.close()
    assert [step for step, _ in drawn(tmp_path, "raw", "eval/loss")] == [2, 4]
