"""What a run draws beside its curves: histograms, confusion matrices and samples. Drawing changes nothing."""

from __future__ import annotations

import io
import json
import math
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.configs import loader
from support.drawn import drawn_tags, records
from support.runs import content, last

from ppema.data import Field
from ppema.errors import ConfigError
from ppema.ir import scope
from ppema.log.pictures.confusion_picture import confusion_picture
from ppema.log.pictures.sample_grid import as_colours, class_colours, sample_grid
from ppema.log.weight_histograms import WeightHistograms
from ppema.programs.eval_program import build_test_model, rewired
from ppema.programs.model.pictured import NO_CLASS, Pictured
from ppema.training.loop import train
from ppema.training.setup import prepare_training

ON = ["board={histograms: true, confusion: true, pictures: 21}"]  # all samples
MATRIX = "metrics=[accuracy, {name: confusion_matrix, as: pairs}]"


@pytest.fixture
def config(tmp_path):
    return loader(tmp_path)


def test_a_run_draws_at_each_evaluation_and_ends_with_the_same_bytes(config, tmp_path):
    noisy = ["data.train.noise=6.0", "data.eval.noise=6.0"]  # each set of weights has an accuracy of its own
    train(config("train.epochs=2", MATRIX, *noisy, f"output={tmp_path / 'off'}"))
    train(config("train.epochs=2", MATRIX, *noisy, *ON))
    for weights in ("raw", "ema", "quick"):
        histograms = drawn_tags(tmp_path / "run", weights, "histogram")
        kinds = ("weights", "updates", *(["average minus raw"] if weights != "raw" else []))
        assert sorted(histograms) == sorted(f"{kind}/{group}" for kind in kinds for group in ("norm", "linear"))
        assert [each.id for each in records(tmp_path / "run", weights, "histogram", "weights/linear")] == [10, 14]
        assert [each.id for each in records(tmp_path / "run", weights, "histogram", "updates/linear")] == [14]
        images = records(tmp_path / "run", weights, "image", "pairs")
        assert [each.id for each in images] == [10, 14]
        assert Image.open(io.BytesIO(images[0].image.encoded_image_string)).size == (385, 385)
        figures = {each["step"]: each for each in evaluations(tmp_path / "run") if each["weights"] == weights}
        for image in records(tmp_path / "run", weights, "image", "samples/predictions"):
            pixels = np.asarray(Image.open(io.BytesIO(image.image.encoded_image_string)))
            assert frames(pixels, 21).count("red") == round(21 * (1 - figures.pop(image.id)["accuracy"]))
        assert figures == {}
        assert drawn_tags(tmp_path / "off", weights, "image") == drawn_tags(tmp_path / "off", weights, "histogram") == []
    whole = content(last(tmp_path / "off"))
    assert {name: data for name, data in content(last(tmp_path / "run")).items() if name.endswith(".safetensors")} == {
        name: data for name, data in whole.items() if name.endswith(".safetensors")
    }


def evaluations(run):
    return [each for line in (run / "metrics.jsonl").open() if (each := json.loads(line))["kind"] == "eval"]


def frames(pixels, count):
    """The colour of the frame of each of `count` samples, whose cells are 104 x 132 below a line of 14, with gaps of 6."""
    columns = math.ceil(math.sqrt(count * 132 / 104))
    corners = [pixels[14 + number // columns * 132, number % columns * 110] for number in range(count)]
    return [{"d62728": "red", "bebebe": "grey"}[corner.tobytes().hex()] for corner in corners]


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


def test_a_wrong_class_has_a_red_frame_a_cross_and_both_names():
    picture = np.full((8, 8, 3), 90, np.uint8)
    true, predicted = np.array([1, 1, 0, NO_CLASS, 1]), np.array([1, 0, 1, 0, NO_CLASS])

    def grid(names):
        return sample_grid("raw after step 5", [picture] * 5, [*true], [*predicted], 2, names)

    pixels = grid(["cat", "dog"])
    assert frames(pixels, 5) == ["grey", "red", "red", "grey", "red"]
    cells = [pixels[14 + top : 14 + top + 132, left : left + 104] for top in (0, 132) for left in (0, 110, 220)]
    # Without the frame, the cross and the text, all cells are alike: 96 x 96 pixels of the picture.
    assert all((cell[16:100, 4:88] == 90).all() for cell in cells[:5])
    assert (cells[0][4:100, 4:100] == 90).all()
    assert not (cells[1][:16, -16:] == [214, 39, 40]).all(axis=2).all() and (cells[1][:16, -16:] == 255).any()  # the cross
    wrong = np.array([(cell[104:118] == [214, 39, 40]).all(axis=2).any() for cell in cells[:5]])
    assert wrong.tolist() == [False, True, True, False, True]
    # Lines of text: each differs if its own name differs, and the second line of the first two samples is "true: dog".
    other = grid(["cat", "eel"])[14 : 14 + 132, : 3 * 110].reshape(132, 3, 110, 3)
    same = [
        [bool((other[rows, cell, :104] == cells[cell][rows]).all()) for cell in range(3)]
        for rows in np.split(np.r_[104:132], 2)
    ]
    assert same == [[False, True, False], [False, False, True]]
    assert (cells[0][118:] == cells[1][118:]).all()
    # The font lacks these signs, so that the classes have their numbers; a longer name is cut.
    assert (grid(["\u732b", "\u72ac"]) == grid(None)).all()
    assert grid(["c" * 90, "dog"]).shape == pixels.shape


def test_maps_are_side_by_side_in_the_colours_of_their_classes():
    true = np.array([[0, 1], [2, NO_CLASS]])
    predicted = np.array([[0, 1], [1, 2]])
    pixels = sample_grid("raw", [np.zeros((4, 4, 3), np.uint8)], [true], [predicted], 3, None)
    colours = class_colours(3)
    assert len(np.unique(colours, axis=0)) == 4
    for left, expected in ((110, true), (220, predicted)):
        corners = pixels[np.ix_([14 + 4, 14 + 99], [left + 4, left + 99])]
        assert (corners == colours[expected]).all()
    legend = pixels[14 + 132 :]
    assert all((legend == colour).all(axis=2).any() for colour in colours[:3])


@pytest.mark.parametrize(
    ("array", "channels", "expected"),
    [
        (np.array([[[0.2, 1.0]]], "float32"), 0, [51, 255]),
        (np.array([[[0], [51]]], "int64"), 2, [0, 51]),
        (np.array([[[-1.0, 3.0, np.nan]]], "float32"), 0, [0, 255, 64]),
        (np.full((1, 1, 2), 7.0, "float32"), 0, [0, 0]),
    ],
)
def test_inputs_become_pictures(array, channels, expected):
    (picture,) = as_colours([array], channels)
    assert picture.dtype == np.uint8 and picture.shape == (1, len(expected), 3)
    assert (picture == np.array(expected)[None, :, None]).all()


def test_classes_of_outputs_and_targets():
    one = Pictured(0, 0, 1, "output", -1, 3, ignored=1)
    predicted = one.predicted(np.array([[0, 2, 1], [5, np.nan, 9]], "float32"))
    assert predicted.tolist() == [1, NO_CLASS]
    assert one.true(np.array([[0], [1]]), predicted).tolist() == [0, NO_CLASS]
    assert one.true(np.array([[0.1, 0.2, 0.7], [0.6, 0.4, 0]], "float32"), predicted).tolist() == [2, 0]
    pixel = Pictured(0, 0, 1, "output", -3, 3)
    found = pixel.predicted(np.moveaxis(np.eye(3, dtype="float32")[[[[0, 2]]]], -1, 1))
    assert found.tolist() == [[[0, 2]]]
    assert pixel.true(np.array([[[2, 255]]]), found).tolist() == [[[2, NO_CLASS]]]


CONV = "model={name: paddle.nn.Conv2D, args: {in_channels: 1, out_channels: 3, kernel_size: 1}}"


def test_what_a_model_shows(config):
    image, mask = Field((1, 8, 8), "float32", "image"), Field((8, 8), "int64", "mask", is_target=True)
    loaded = config(CONV, "loss={name: cross_entropy, args: {axis: 1, ignore_index: 2}}", "metrics=[]")
    model = build_test_model(loaded, (image, mask), pictures=True)
    assert model.pictured == Pictured(0, 0, 1, "output", -3, 3, 2)
    copy: Any = rewired(model.test, {})  # a variable lives no longer than its program
    assert list(copy.shown.shape) == [-1, 3, 8, 8]
    assert build_test_model(loaded, (image, mask)).test.shown is None


@pytest.mark.parametrize(
    ("image", "target", "overrides", "message"),
    [
        ((64,), ((), "int64"), ["model={name: mlp, args: {in_features: 64, num_classes: 3}}"], "image is float32 [64]: set"),
        ((2, 8, 8), ((), "int64"), ["model={name: cnn, args: {in_channels: 2, num_classes: 3}}"], "image is float32 [2, 8, 8]"),
        ((1, 8, 8), ((3, 8, 8), "float32"), [CONV, "loss=mse"], "the loss mse does not decide between classes"),
        ((1, 8, 8), ((3, 8, 8), "float32"), [CONV, "loss=binary_cross_entropy"], "does not decide between classes"),
        ((1, 8, 8), ((3, 8), "int64"), [CONV, "loss={name: cross_entropy, args: {axis: 2}}"], "output is float32 [N, 3, 8, 8]"),
    ],
)
def test_what_can_not_be_shown_is_refused_in_one_line(config, image, target, overrides, message):
    shape, dtype = target
    fields = (Field(image, "float32", "image"), Field(shape, dtype, "target", is_target=True))
    with pytest.raises(ConfigError) as caught:
        build_test_model(config("metrics=[]", *overrides), fields, pictures=True)
    assert "board.pictures: " in str(caught.value) and message in str(caught.value) and "\n" not in str(caught.value)
