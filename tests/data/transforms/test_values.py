"""The values of transforms: those of torchvision, in golden/torchvision.npz, and those that are derived by hand."""

from pathlib import Path

import numpy as np
import pytest
from support.transforms import applied, images

from ppema.data.transforms import rand_augment, tones
from ppema.data.transforms.rand_augment import OPERATIONS, RandAugment
from ppema.data.transforms.resizing import RandomResizedCrop
from ppema.data.transforms.table import TRANSFORMS
from ppema.data.transforms.warps import inverse_matrix, warped

GOLDEN = np.load(Path(__file__).with_name("golden") / "torchvision.npz")
BATCH = images(n=2)
# Rounding of float32 in sums of up to nine products, in another order.
CLOSE = 2e-6

# A range of one number leaves nothing to chance.
SPECS = {
    "pad": ("Pad", {"padding": [1, 2, 3, 0], "fill": 0.5}),
    "reflect": ("Pad", {"padding": [2, 1], "padding_mode": "reflect"}),
    "symmetric": ("Pad", {"padding": 3, "padding_mode": "symmetric"}),
    "edge": ("Pad", {"padding": 3, "padding_mode": "edge"}),
    "center_crop": ("CenterCrop", {"size": [10, 4]}),
    "resize_down": ("Resize", {"size": [4, 5]}),
    "resize_plain": ("Resize", {"size": [4, 5], "antialias": False}),
    "resize_up": ("Resize", {"size": [12, 20]}),
    "resize_shorter": ("Resize", {"size": 5}),
    "resize_nearest": ("Resize", {"size": [5, 13], "interpolation": "nearest"}),
    "rotate": ("RandomRotation", {"degrees": [33, 33], "center": [3, 5]}),
    "brightness": ("ColorJitter", {"brightness": [1.4, 1.4]}),
    "contrast": ("ColorJitter", {"contrast": [0.3, 0.3]}),
    "saturation": ("ColorJitter", {"saturation": [1.7, 1.7]}),
    "hue": ("ColorJitter", {"hue": [-0.3, -0.3]}),
    "grey": ("Grayscale", {"num_output_channels": 3}),
    "normalize": ("Normalize", {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]}),
}


@pytest.mark.parametrize("name", SPECS)
def test_values_of_torchvision(name):
    kind, args = SPECS[name]
    (made,) = applied([{"name": kind, "args": args}], BATCH)
    np.testing.assert_allclose(made, GOLDEN[name], rtol=0, atol=CLOSE)


def matrix(degrees, shift, scale, shear):
    ones = np.ones(2)
    moved = (shift[0] * ones, shift[1] * ones)
    return inverse_matrix(degrees * ones, moved, scale * ones, (shear[0] * ones, shear[1] * ones), np.zeros(2))


def test_affine_maps_of_torchvision():
    fill = np.zeros((), np.float32)
    made = warped(BATCH, matrix(25, (2, -1), 1.2, (10, -15)), "nearest", fill)
    np.testing.assert_array_equal(made, GOLDEN["affine"])
    # All places are inside of the image. At its border, torchvision counts the weights twice.
    made = warped(BATCH, matrix(8, (0, 0), 2.0, (5, 0)), "bilinear", fill)
    np.testing.assert_allclose(made, GOLDEN["affine_inside"], rtol=0, atol=CLOSE)


def test_a_resized_crop_of_torchvision():
    boxes = tuple(np.full(2, float(number)) for number in (1, 5, 2, 6))
    made = RandomResizedCrop(size=(4, 4)).apply(BATCH, boxes)
    np.testing.assert_allclose(made, GOLDEN["resized_crop"], rtol=0, atol=CLOSE)


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_of_rand_augment_as_in_torchvision(name, monkeypatch):
    """Of magnitude 9, in the negative direction."""
    bytewise = name in ("Posterize", "Equalize", "Solarize")
    batch = np.rint(BATCH * 255).astype(np.float32) / np.float32(255) if bytewise else BATCH.copy()
    number = np.full(2, OPERATIONS.index(name))
    made = RandAugment().apply(batch, [(number, np.full(2, -1.0))])
    np.testing.assert_allclose(made, GOLDEN[name], rtol=0, atol=CLOSE)
    assert set(OPERATIONS) == {key for key in GOLDEN.files if key[0].isupper()} and rand_augment.OPERATIONS is OPERATIONS


def test_a_random_crop_by_hand():
    """Each of the 9 windows of the padded image comes up equally often: counts have the deviation √(N p (1 - p))."""
    image = np.arange(1, 10, dtype=np.float32).reshape(1, 1, 3, 3)
    count = 9000
    (crops,) = applied([{"name": "RandomCrop", "args": {"size": 3, "padding": 1}}], np.repeat(image, count, axis=0))
    framed = np.pad(image[0, 0], 1)
    seen = [
        int((crops[:, 0] == framed[top : top + 3, left : left + 3]).all(axis=(1, 2)).sum())
        for top in range(3)
        for left in range(3)
    ]
    assert sum(seen) == count
    assert max(abs(number - count / 9) for number in seen) < 5 * np.sqrt(count * (1 / 9) * (8 / 9))


def test_flips_by_hand():
    image = np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)
    for name, flipped in [("RandomHorizontalFlip", [[1, 0], [3, 2]]), ("RandomVerticalFlip", [[2, 3], [0, 1]])]:
        (always,) = applied([{"name": name, "args": {"p": 1}}], image)
        (never,) = applied([{"name": name, "args": {"prob": 0}}], image)
        assert always[0, 0].tolist() == flipped and never.tobytes() == image.tobytes()


def test_erased_boxes():
    """Boxes have the drawn share and ratio up to the rounding of two sides, and a share 1 - p of the images stays."""
    count, side = 4000, 40
    args = {"p": 0.6, "scale": [0.1, 0.2], "ratio": [0.5, 2], "value": [7, 8, 9]}
    (made,) = applied([{"name": "RandomErasing", "args": args}], np.zeros((count, 3, side, side), np.float32))
    erased = made.any(axis=(1, 2, 3))
    assert abs(erased.sum() - 0.6 * count) < 5 * np.sqrt(count * 0.6 * 0.4)
    for image in made[erased][:200]:
        rows, columns = np.flatnonzero(image[0].any(axis=1)), np.flatnonzero(image[0].any(axis=0))
        box = image[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert (box == np.array([7, 8, 9], np.float32)[:, None, None]).all()
        height, width = box.shape[1:]
        assert (height - 0.5) * (width - 0.5) <= 0.2 * side**2 and (height + 0.5) * (width + 0.5) >= 0.1 * side**2
        assert (height - 0.5) / (width + 0.5) <= 2 and (height + 0.5) / (width - 0.5) >= 0.5


def test_equalizing_by_hand():
    """16 pixels of 4 values: step = (16 - 4) // 255 = 0, so that the image stays. 1024 pixels: step 3."""
    few = np.repeat(np.float32([0, 0.2, 0.4, 0.6]), 4).reshape(1, 1, 4, 4)
    assert np.abs(tones.equalize(few) - few).max() < 1e-7
    many = np.repeat(np.arange(4), 256).reshape(1, 1, 32, 32).astype(np.float32) / np.float32(255)
    # Pixels below each value: 0, 256, 512, 768; plus step // 2 = 1; over step = (1024 - 256) // 255 = 3.
    expected = np.repeat([0, 85, 171, 255], 256).reshape(many.shape) / 255
    np.testing.assert_allclose(tones.equalize(many), expected, atol=1e-6)


def test_the_table_has_only_names_of_torchvision():
    assert set(TRANSFORMS) == {
        *("RandomCrop", "CenterCrop", "Pad", "RandomHorizontalFlip", "RandomVerticalFlip", "RandomRotation", "RandomAffine"),
        *("Resize", "RandomResizedCrop", "ColorJitter", "Grayscale", "Normalize", "RandomErasing", "RandAugment"),
    }
