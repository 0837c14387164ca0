"""What a run draws beside its curves: histograms and confusion matrices. Drawing changes nothing."""

from __future__ import annotations

import io
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.configs import loader
from support.drawn import drawn_tags, records
from support.runs import content, last

from ppema.errors import ConfigError
from ppema.ir import scope
from ppema.log.confusion_picture import confusion_picture
from ppema.log.weight_histograms import WeightHistograms
from ppema.training.loop import train
from ppema.training.setup import prepare_training

ON = ["board={histograms: true, confusion: true}"]
MATRIX = "metrics=[accuracy, {name: confusion_matrix, as: pairs}]"


@pytest.fixture
def config(tmp_path):
    return loader(tmp_path)


def test_a_run_draws_at_each_evaluation_and_ends_with_the_same_bytes(config, tmp_path):
    train(config("train.epochs=2", MATRIX, f"output={tmp_path / 'off'}"))
    train(config("train.epochs=2", MATRIX, *ON))
    for weights in ("raw", "ema", "quick"):
        histograms = drawn_tags(tmp_path / "run", weights, "histogram")
        kinds = ("weights", "updates", *(["average minus raw"] if weights != "raw" else []))
        assert sorted(histograms) == sorted(f"{kind}/{group}" for kind in kinds for group in ("norm", "linear"))
        assert [each.id for each in records(tmp_path / "run", weights, "histogram", "weights/linear")] == [10, 14]
        assert [each.id for each in records(tmp_path / "run", weights, "histogram", "updates/linear")] == [14]
        images = records(tmp_path / "run", weights, "image", "pairs")
        assert [each.id for each in images] == [10, 14]
        assert Image.open(io.BytesIO(images[0].image.encoded_image_string)).size == (385, 385)
        assert drawn_tags(tmp_path / "off", weights, "image") == drawn_tags(tmp_path / "off", weights, "histogram") == []
    whole = content(last(tmp_path / "off"))
    assert {name: data for name, data in content(last(tmp_path / "run")).items() if name.endswith(".safetensors")} == {
        name: data for name, data in whole.items() if name.endswith(".safetensors")
    }


class Drawn(dict):
    """Stands for a RunBoard: the histograms by set of weights and tag."""

    def histogram(self, name, tag, counts, edges, step):
        assert np.histogram([], 40)[0].shape == counts.shape and edges.shape == (41,)
        self[name, tag] = int(counts.sum()), float(edges[0]), float(edges[-1])


def test_histograms_by_hand(config):
    with closing(prepare_training(config())) as run:
        weight = run.programs.model.structured["linear.weight"]
        bias = run.programs.model.structured["linear.bias"]
        shadow_of = run.programs.averages["ema"].shadow_of
        shape = scope.get(run.scope, weight).shape
        count = int(np.prod(shape)) + 3

        def put(value, average):
            values = np.full(shape, value, np.float32)
            values.flat[0] = np.nan
            scope.put(run.scope, {weight: values, bias: np.full(3, 2 * value, np.float32)})
            scope.put(run.scope, {shadow_of[weight]: np.full(shape, average, np.float32)})
            scope.put(run.scope, {shadow_of[bias]: np.full(3, average, np.float32)})

        histograms = WeightHistograms(run.programs, run.scope)
        put(1.0, 0.5)
        first: Any = Drawn()
        histograms.draw(first, ["raw", "ema"], 1)
        put(4.0, 1.5)
        second: Any = Drawn()
        histograms.draw(second, ["raw", "ema"], 2)
    # One number is not finite.
    assert first["raw", "weights/linear"] == (count - 1, 1.0, 2.0)
    assert first["ema", "average minus raw/linear"] == (count - 1, -1.5, -0.5)
    assert ("raw", "updates/linear") not in first
    assert second["raw", "updates/linear"] == (count - 1, 3.0, 6.0)
    assert second["ema", "updates/linear"] == (count, 0.5, 1.5)
    assert ("raw", "average minus raw/linear") not in second


def test_a_cell_is_as_dark_as_its_share_of_the_true_class():
    """The image of an identity is dark on its diagonal alone; names may look like formulas."""
    picture = confusion_picture(np.array([[9, 0], [0, 1]]), ["$a_{", "b"], "pairs")
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
    dark = (picture.astype(int) == np.array([8, 48, 107])).all(axis=2)
    assert 0.2 < dark.mean() < 0.4
    swapped = confusion_picture(np.array([[0, 9], [1, 0]]), None, "pairs")
    assert not (swapped == picture).all()
    empty = confusion_picture(np.zeros((50, 50), int), None, "pairs")
    assert not (empty.astype(int) == np.array([8, 48, 107])).all(axis=2).any()


def test_a_confusion_matrix_that_is_not_measured_is_refused(config):
    with pytest.raises(ConfigError) as caught:
        config("board.confusion=true")
    assert str(caught.value).endswith("board.confusion: no metric is a confusion_matrix: add it to `metrics`")
