"""Pipelines: fields, masks, the user's own transforms, independence of the batch, and every refusal."""

import pickle

import numpy as np
import pytest
from support import transforms
from support.transforms import applied, images, pipeline
from support.where import where

from ppema.data.fields import Field
from ppema.data.transforms.placed_transform import Origin
from ppema.data.transforms.table import TRANSFORMS
from ppema.errors import ConfigError, DataError

ARGS = {
    "RandomCrop": {"size": [6, 8], "padding": 2},
    "CenterCrop": {"size": 5},
    "Pad": {"padding": 1},
    "RandomRotation": {"degrees": 40, "interpolation": "bilinear"},
    "RandomAffine": {"degrees": 10, "translate": [0.2, 0.3], "scale": [0.7, 1.3], "shear": 9},
    "Resize": {"size": [5, 12]},
    "RandomResizedCrop": {"size": 6},
    "ColorJitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.2},
    "Normalize": {"mean": [0.4, 0.5, 0.6], "std": 0.25},
    "RandomErasing": {"p": 0.7, "value": "random"},
}
EVERY = {name: {"name": name, "args": ARGS.get(name, {})} for name in TRANSFORMS}
EVERY["own"] = {"name": "support.transforms.drawing"}


@pytest.mark.parametrize("name", EVERY)
def test_a_sample_is_the_same_in_any_batch(name):
    """Bit for bit: alone, in another order, among others, and in large batches, which some transforms change in parts."""
    batch = images(n=90, height=17, width=23)
    (whole,) = applied([EVERY[name]], batch, seed=3, epoch=2)
    order = np.random.default_rng(1).permutation(90)
    (shuffled,) = applied([EVERY[name]], batch[order], seed=3, epoch=2, indices=order)
    assert shuffled.tobytes() == whole[order].tobytes()
    for index in (0, 41, 89):
        (alone,) = applied([EVERY[name]], batch[index : index + 1], seed=3, epoch=2, indices=[index])
        assert alone.tobytes() == whole[index : index + 1].tobytes()


RANDOM = [name for name, kind in TRANSFORMS.items() if kind.random] + ["own"]


@pytest.mark.parametrize("name", RANDOM)
def test_draws_change_with_seed_epoch_sample_and_place(name):
    batch = np.repeat(images(n=1, height=17, width=23), 40, axis=0)
    spec = EVERY[name]
    (first,) = applied([spec], batch)
    assert len(np.unique(first.reshape(40, -1), axis=0)) > 1
    identity = {"name": "Normalize", "args": {"mean": 0, "std": 1}}
    for other in ({"seed": 1}, {"epoch": 1}, {"indices": np.arange(40, 80)}):
        assert applied([spec], batch, **other)[0].tobytes() != first.tobytes()
    assert applied([identity, spec], batch)[0].tobytes() != first.tobytes()
    assert applied([spec], batch)[0].tobytes() == first.tobytes()


def test_two_equal_transforms_draw_independently():
    """Flipped twice with p = 1/2: a quarter of the samples is flipped by the first alone, so that half end up flipped."""
    batch = np.repeat(images(n=1), 4000, axis=0)
    (twice,) = applied(["RandomHorizontalFlip", "RandomHorizontalFlip"], batch)
    flipped = (twice == batch[..., ::-1]).all(axis=(1, 2, 3))
    assert abs(flipped.sum() - 2000) < 5 * np.sqrt(4000 / 4)


@pytest.mark.parametrize("name", ["RandomCrop", "RandomHorizontalFlip", "RandomAffine", "RandomResizedCrop", "RandAugment"])
@pytest.mark.parametrize("axes", [2, 3])
def test_a_mask_moves_with_its_image(name, axes):
    """The image is the mask as floats, so nearest interpolation of both gives equal pixels. RandAugment changes colours too."""
    mask = np.random.default_rng(0).integers(0, 2, (50, 12, 12))
    image = mask[:, None].astype(np.float32)
    mask = mask if axes == 2 else mask[:, None]
    args = {**ARGS.get(name, {}), **({"interpolation": "nearest"} if name != "RandomHorizontalFlip" else {})}
    args = {key: value for key, value in args.items() if key in TRANSFORMS[name].model_fields}
    image_after, mask_after = applied([{"name": name, "args": args, "fields": ["image", "mask"]}], image, mask)
    assert mask_after.dtype == np.int64 and mask_after.ndim == axes + 1
    same = image_after == mask_after.reshape(image_after.shape)
    assert same.all() if name != "RandAugment" else same.all(axis=(1, 2, 3)).mean() > 0.2
    assert not np.array_equal(mask_after, mask)


def test_the_fill_of_masks():
    image, mask = images(n=2, height=4, width=4), np.ones((2, 4, 4), np.int64)
    spec = {"name": "Pad", "args": {"padding": 1, "fill": 0.5, "mask_fill": 255}, "fields": ["image", "mask"]}
    padded, frame = applied([spec], image, mask)
    assert (padded[:, :, 0] == 0.5).all() and (frame[:, 0] == 255).all() and (frame[:, 1:-1, 1:-1] == 1).all()


def test_fields_after_transforms():
    image, mask = images(n=2), np.zeros((2, 7, 9), np.int64)
    made = pipeline(["Grayscale", {"name": "Resize", "args": {"size": 14}, "fields": ["image", "mask"]}], image, mask)
    assert made.fields == (Field((1, 14, 18), "float32", "image"), Field((14, 18), "int64", "mask"))
    assert made.touched == {"image", "mask"} and made.random == ()
    flip = {"name": "RandomVerticalFlip", "fields": ["image"]}
    assert pipeline([flip, "support.transforms.drawing"], image, mask).random == (
        "RandomVerticalFlip",
        "support.transforms.drawing",
    )


def test_own_transforms():
    batch = images()
    (by_function,) = applied([{"name": "support.transforms.brighter", "args": {"by": 0.25}}], batch)
    assert by_function.tobytes() == (batch + np.float32(0.25)).tobytes()
    (by_class,) = applied([{"name": "support.transforms.Scaled", "args": {"factor": 2.0}}], batch)
    assert by_class.tobytes() == (batch * 2).tobytes()
    mask = np.random.default_rng(0).integers(0, 9, (6, 7, 9))
    rolled, mask_after = applied([{"name": "support.transforms.both", "fields": ["image", "mask"]}], batch, mask)
    for before, after, was, now in zip(batch, rolled, mask, mask_after, strict=True):
        assert any(
            np.array_equal(np.roll(before, by, 2), after) and np.array_equal(np.roll(was, by, 1), now) for by in range(1, 5)
        )


def test_a_pipeline_is_pickled_with_its_own_transforms():
    batch = images()
    made = pipeline([{"name": "support.transforms.Scaled", "args": {"factor": 3.0}}, "support.transforms.drawing"], batch)
    origin = Origin(1, 2, np.arange(6))
    again = pickle.loads(pickle.dumps(made))
    assert again.apply([batch.copy()], origin)[0].tobytes() == made.apply([batch.copy()], origin)[0].tobytes()


def test_an_own_transform_that_fails_names_sample_and_line():
    batch = images(n=30)
    batch[:, 0, 0, 0] = 0
    batch[17, 0, 0, 0] = 1
    line = where(transforms, 'raise ValueError("too')
    for name, message in [
        ("failing", f"ValueError: too bright ({line})"),
        ("shrinking", "image: float32 [3, 1, 9], but float32 [3, 7, 9] for sample 0"),
    ]:
        with pytest.raises(DataError) as caught:
            applied([f"support.transforms.{name}"], batch, indices=np.arange(100, 130))
        assert str(caught.value) == f"sample 117: support.transforms.{name}: {message}"


def data_error(specs, *arrays):
    with pytest.raises(DataError) as caught:
        applied(specs, *arrays)
    return str(caught.value)


def test_results_that_are_refused():
    assert data_error(["support.transforms.silent"], images()) == (
        "sample 0: support.transforms.silent: image: returned nothing; return the changed array"
    )
    mask = np.zeros((6, 7, 9), np.int64)
    assert data_error([{"name": "support.transforms.brighter", "fields": ["image", "mask"]}], images(), mask) == (
        "sample 0: support.transforms.brighter: expected a tuple of 2 arrays, one for each field, got a ndarray"
    )


@pytest.mark.parametrize("name", ["ColorJitter", "RandAugment"])
def test_colours_outside_of_the_unit_range_are_refused(name):
    batch = images()
    batch[4, 1, 2, 3] = -0.5
    assert data_error([{"name": name, "args": {}}], batch) == (
        f"sample 4: {name}: expected an image in [0, 1], got -0.5; Normalize belongs after it"
    )
    batch[4, 1, 2, 3] = np.nan
    assert "got nan" in data_error([name], batch)


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("RandomCorp", ".name: unknown transform 'RandomCorp'; did you mean 'RandomCrop'?"),
        (
            {"name": "Resize", "args": {"size": 0}},
            ".args.size: expected an integer >= 1, for the shorter side, or [height, width], got 0",
        ),
        ({"name": "RandomCrop", "args": {"size": True}}, ".args.size: expected an integer >= 1 or [height, width], got true"),
        ({"name": "RandomVerticalFlip", "args": {"prob": 2}}, ".args.prob: expected a number in [0, 1], got 2"),
        (
            {"name": "RandomErasing", "args": {"ratio": [3, 1]}},
            ".args.ratio: expected [least, most], two numbers > 0, got [3, 1]",
        ),
        (
            {"name": "RandAugment", "args": {"magnitude": 31}},
            ".args.magnitude: expected an integer up to 30, num_magnitude_bins - 1, got 31",
        ),
        (
            {"name": "Pad", "args": {"padding": 9, "padding_mode": "reflect"}},
            ": image: padding_mode reflect can not pad 7 x 9 images by [9, 9, 9, 9]",
        ),
        (
            {"name": "RandomCrop", "args": {"size": 8}},
            ": image: no window of 8 x 8 fits into 7 x 9, the images with their "
            "padding: give a smaller size, more padding, or pad_if_needed",
        ),
        ({"name": "ColorJitter", "fields": ["mask"]}, ": mask is int64, and ColorJitter changes values of float32 only"),
        (
            {"name": "Normalize", "args": {"mean": [0, 0], "std": 1}},
            ": image: 2 numbers for samples of shape [3, 7, 9]: expected one for each channel, the first axis",
        ),
        ({"name": "RandomHorizontalFlip", "fields": ["image", "maks"]}, ".fields.1: no field 'maks'; did you mean 'mask'?"),
        ({"name": "RandomHorizontalFlip", "fields": ["mask", "mask"]}, ".fields.1: 'mask' is listed twice"),
        ({"name": "Pad", "args": {"padding": 1, "fill": [0.1, 0.2]}}, ": image: fill has 2 numbers, for 3 channels"),
        (
            "RandomVerticalFlip",
            ": the field 'mask' has the size of 'image': write fields: [image, mask], or fields: [image] to leave it",
        ),
        ("support.transforms.missing", ".name: 'support.transforms'"),
        (
            {"name": "support.transforms.brighter", "args": {"image": 1}},
            ".args.image: this argument of support.transforms.brighter is set by ppema; remove it",
        ),
        (
            {"name": "support.transforms.Scaled", "args": {"factor": 0}},
            ".name: support.transforms.Scaled: ValueError: factor 0",
        ),
        ("paddle.vision.transforms.Transpose", ".name: paddle.vision.transforms.Transpose takes images of another layout"),
    ],
)
def test_specs_that_are_refused(spec, problem):
    image, mask = images(), np.zeros((6, 7, 9), np.int64)
    with pytest.raises(ConfigError) as caught:
        pipeline([{"name": "RandomHorizontalFlip", "fields": ["image", "mask"]}, spec], image, mask)
    (found,) = caught.value.problems
    assert str(found).startswith(f"transforms.1{problem}")


def test_fields_of_two_sizes_are_not_transformed_together():
    with pytest.raises(ConfigError) as caught:
        pipeline([{"name": "RandomVerticalFlip", "fields": ["image", "mask"]}], images(), np.zeros((6, 9, 7), np.int64))
    assert str(caught.value) == (
        "transforms.0: fields that are transformed together need one height and width, got image [3, 7, 9], mask [9, 7]"
    )


def test_fields_of_another_size_need_no_names():
    """A transform that moves no pixels needs none at all."""
    image = images()
    assert pipeline(["RandomHorizontalFlip"], image, np.zeros((6, 9, 7), np.int64)).touched == {"image"}
    assert pipeline(["ColorJitter", "RandomErasing"], image, np.zeros((6, 7, 9), np.int64)).touched == {"image"}
    with pytest.raises(ConfigError, match="the fields 'mask', 'depth' have the size of 'image': write fields: .* leave them$"):
        pipeline(["RandAugment"], image, image, image, names=["image", "mask", "depth"])


def test_no_image():
    with pytest.raises(ConfigError, match=r"input: expected images \[C, H, W\] or \[H, W\], got samples of shape \[4\]"):
        pipeline(["RandomHorizontalFlip"], np.zeros((2, 4), np.float32), names=["input"])
    (scaled,) = applied([{"name": "Normalize", "args": {"mean": [1, 2], "std": [2, 4]}}], np.array([[3, 10]], np.float32))
    assert scaled.tolist() == [[1, 2]]
