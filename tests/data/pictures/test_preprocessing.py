"""The preparation of picture files is that of the run: of its data set, its size and channels, and its transforms."""

import json

import numpy as np
import pytest
from PIL import Image
from support.configs import write_config

from ppema.config import load_config
from ppema.data import Field, Loader, build_loader
from ppema.data.pictures.preprocessing import Preprocessing
from ppema.errors import ConfigError, DataError

TARGET = Field((), "int64", "target", is_target=True)


def image(*shape):
    return (Field(shape, "float32", "input_0"), TARGET)


def config_of(tmp_path, part, **data):
    """A config whose data of training and evaluation are `part`."""
    path = write_config(tmp_path / "c.yml")
    return load_config(path, [f"data={json.dumps({'_replace_': True, 'train': part, 'eval': part, **data})}"])


def photos(tmp_path, **more):
    return {"name": "image_folder", "path": str(tmp_path), "size": [6, 4], "batch_size": 2, **more}


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)
    return path


def refusal(config, fields):
    with pytest.raises(ConfigError) as caught:
        Preprocessing.of(config, fields)
    (problem,) = caught.value.problems
    return ".".join(map(str, problem.path)), problem.message


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_is_what_evaluation_reads(tmp_path, channels):
    transforms = [{"name": "Pad", "args": {"padding": 1, "fill": 0.5}}, {"name": "Resize", "args": {"size": [5, 7]}}]
    file = save(tmp_path / "photos" / "a" / "x.png", np.random.default_rng(0).integers(0, 256, (9, 13, 4)))
    config = config_of(tmp_path, photos(tmp_path / "photos", channels=channels, transforms=transforms))
    loader = build_loader(config.data.eval, seed=0, label="data.eval")
    made = Preprocessing.of(config, loader.fields)
    (batch,) = loader.epoch(0)
    np.testing.assert_array_equal(made.read(file), batch.arrays[0][0])
    assert made.shape == (channels, 5, 7)
    again = Preprocessing.from_json(json.loads(json.dumps(made.as_json())))
    np.testing.assert_array_equal(again.read(file), batch.arrays[0][0])


def test_values_of_an_image_folder_and_of_digits(tmp_path):
    made = Preprocessing.of(config_of(tmp_path, photos(tmp_path)), image(3, 6, 4))
    assert made.as_json() == {
        "channels": 3,
        "size": [6, 4],
        "filter": "bilinear",
        "antialias": True,
        "scale": 1 / 255,
        "layout": "CHW",
        "transforms": [],
        "input": "input_0",
        "shape": [3, 6, 4],
    }
    older = {key: value for key, value in made.as_json().items() if key not in ("filter", "antialias")}
    assert Preprocessing.from_json(older).as_json() == made.as_json()
    made = Preprocessing.of(config_of(tmp_path, {"name": "digits", "split": "test", "batch_size": 8}), image(1, 8, 8))
    assert (made.channels, made.size, made.shape) == (1, None, (1, 8, 8))
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    np.testing.assert_array_equal(made.read(save(tmp_path / "x.png", pixels)), pixels[None] / np.float32(255))
    with pytest.raises(
        DataError, match=r"y\.png: its height x width is 8 x 9; the model takes 8 x 8, and its run resized nothing$"
    ):
        made.read(save(tmp_path / "y.png", np.zeros((8, 9))))


def test_a_part_kept_for_evaluation_has_its_own_transforms(tmp_path):
    train = photos(tmp_path, transforms=["RandomHorizontalFlip"])
    data = {
        "_replace_": True,
        "train": train,
        "split": {"fraction": 0.5},
        "eval": {"transforms": [{"name": "CenterCrop", "args": {"size": 2}}]},
    }
    config = load_config(write_config(tmp_path / "c.yml"), [f"data={json.dumps(data)}"])
    made = Preprocessing.of(config, image(3, 2, 2))
    assert [each.name for each in made.transforms] == ["CenterCrop"]
    assert made.size == (6, 4)


def test_data_that_is_no_pictures(tmp_path):
    npz = {"name": "npz", "path": "x.npz", "batch_size": 2}
    fault = "npz has no picture files: give an .npz file with the same arrays"
    assert refusal(config_of(tmp_path, npz), image(4)) == ("data.eval.name", fault)
    own = {"name": "mine.Data", "batch_size": 2}
    fault = "mine.Data has no picture files: give the dotted path of a data set"
    assert refusal(config_of(tmp_path, own), image(4)) == ("data.eval.name", fault)
    collated = config_of(tmp_path, photos(tmp_path), collate={"name": "pad"})
    fault = "batches of picture files are stacked: give the dotted path of a data set, or set it to null"
    assert refusal(collated, image(3, 6, 4)) == ("data.collate", fault)


def test_transforms_that_predictions_can_not_have(tmp_path):
    random = config_of(tmp_path, photos(tmp_path, transforms=["Grayscale", "RandomVerticalFlip"]))
    fault = "RandomVerticalFlip is random, and so would be the predictions: remove it"
    assert refusal(random, image(3, 6, 4)) == ("data.eval.transforms.1", fault)
    both = config_of(tmp_path, photos(tmp_path, transforms=[{"name": "Grayscale", "fields": ["input_0", "target"]}]))
    fault = "it changes targets, which picture files lack: give the dotted path of a data set"
    assert refusal(both, image(3, 6, 4)) == ("data.eval.transforms.0.fields", fault)


def test_a_picture_too_small_for_a_transform(tmp_path):
    part = {
        "name": "idx",
        "images": "i",
        "labels": "l",
        "batch_size": 2,
        "transforms": [{"name": "Pad", "args": {"padding": 1}}],
    }
    made = Preprocessing.of(config_of(tmp_path, part), image(1, 6, 6))
    assert made.read(save(tmp_path / "x.png", np.zeros((4, 4)))).shape == (1, 6, 6)
    with pytest.raises(
        DataError, match=r"y\.png: float32 \[1, 7, 6\] after the transforms; the model takes float32 \[1, 6, 6\]$"
    ):
        made.read(save(tmp_path / "y.png", np.zeros((5, 4))))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": 1.0}, "scale: expected 1 / 255, got 1.0"),
        ({"channels": 2}, "channels: expected 1 or 3, got 2"),
        ({"filter": "nearest"}, "filter: expected 'bilinear', got 'nearest'"),
        ({"shape": []}, "shape: expected at least one item, got []"),
    ],
)
def test_json_of_something_else_is_refused(tmp_path, change, message):
    made = Preprocessing.of(config_of(tmp_path, photos(tmp_path)), image(3, 6, 4))
    with pytest.raises(ValueError, match="^" + message.replace("[", r"\[") + "$"):
        Preprocessing.from_json({**made.as_json(), **change})


def test_the_loader_reads_a_file_as_prediction_does(tmp_path):
    """Modes and orientation: one way of decoding."""
    (tmp_path / "a").mkdir()
    pixels = np.random.default_rng(1).integers(0, 256, (6, 4, 3), np.uint8)
    turned = Image.Exif()
    turned[0x0112] = 6  # orientation: turn by 90 degrees
    Image.fromarray(pixels).save(tmp_path / "a" / "exif.jpg", exif=turned, quality=100)
    Image.fromarray(pixels).convert("CMYK").save(tmp_path / "a" / "cmyk.jpg")
    Image.fromarray(pixels).quantize(8).save(tmp_path / "a" / "palette.png", transparency=bytes([0, 128, 255]))
    Image.fromarray(pixels).quantize(8).save(tmp_path / "a" / "palette1.png", transparency=1)
    frames = [Image.new("L", (4, 6), value) for value in (10, 200)]
    frames[0].save(tmp_path / "a" / "gif.gif", save_all=True, append_images=frames[1:])
    config = config_of(tmp_path, photos(tmp_path))
    loader: Loader = build_loader(config.data.eval.replace(batch_size=5), seed=0, label="data.eval")
    (batch,) = loader.epoch(0)
    made = Preprocessing.of(config, loader.fields)
    for (path, _), read in zip(loader.dataset.samples, batch.arrays[0], strict=True):
        np.testing.assert_array_equal(made.read(path), read)
        if path.suffix != ".jpg":
            with Image.open(path) as opened:
                expected = np.asarray(opened.convert("RGBA").convert("RGB"), np.float32) / np.float32(255)
            np.testing.assert_array_equal(read, expected.transpose(2, 0, 1))
    assert np.all(batch.arrays[0][2] == np.float32(10) / np.float32(255)), "the first picture of an animation"
