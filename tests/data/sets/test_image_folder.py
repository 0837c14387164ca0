"""Folders of images: classes, decoding, and the faults of a folder."""

import os

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from ppema.data.loader import Loader
from ppema.data.pictures.decoding import FORMATS
from ppema.data.sets.image_folder import ImageFolderDataset
from ppema.errors import DataError


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(pixels, np.uint8)).save(path)


def test_order_labels_and_pixels(tmp_path):
    colours = [[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [51, 102, 204]]]
    save(tmp_path / "cat" / "b.png", colours)
    save(tmp_path / "cat" / "a.PNG", np.zeros((2, 2, 3)))
    save(tmp_path / "ant" / "z.png", np.full((2, 2, 3), 255))
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "cat" / ".hidden.png").write_text("no image")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "cat" / "folder.png").mkdir()
    dataset = ImageFolderDataset(str(tmp_path), (2, 2), 3)
    assert dataset.classes == ("ant", "cat")
    assert [(path.name, label) for path, label in dataset.samples] == [("z.png", 0), ("a.PNG", 1), ("b.png", 1)]
    pixels, label = dataset[2]
    assert label == 1
    assert pixels.dtype == np.float32
    expected = np.array(colours, np.float32).transpose(2, 0, 1) / np.float32(255)
    np.testing.assert_array_equal(pixels, expected)


def test_resize_is_height_by_width_and_antialiased(tmp_path):
    save(tmp_path / "a" / "x.png", [[0, 0, 255, 255]] * 2)
    pixels, _ = ImageFolderDataset(str(tmp_path), [4, 2], 1)[0]
    # Halving the width, a triangle two pixels to either side weighs four pixels by 3, 3, 1 and 0 sevenths: 255/7 is 36.
    np.testing.assert_array_equal(pixels, np.array([[[36, 219]] * 4], np.float32) / np.float32(255))


@pytest.mark.parametrize(("channels", "expected"), [(1, [[[0.2]]]), (3, [[[0.2]], [[0.2]], [[0.2]]])])
def test_channels(tmp_path, channels, expected):
    save(tmp_path / "a" / "x.png", [[[51, 51, 51, 7]]])  # the fourth is transparency
    pixels, _ = ImageFolderDataset(str(tmp_path), (1, 1), channels)[0]
    np.testing.assert_array_equal(pixels, np.array(expected, np.float32))


def test_wrong_folders(tmp_path):
    def refusal(path):
        with pytest.raises(DataError) as caught:
            ImageFolderDataset(str(path), (2, 2), 3)
        return str(caught.value).removeprefix(str(tmp_path))

    assert refusal(tmp_path / "none") == "/none: no such folder"
    (tmp_path / "file").write_text("")
    assert refusal(tmp_path / "file") == "/file: not a folder"
    (tmp_path / "empty").mkdir()
    nothing = ": no subfolders; put the images of each class into a subfolder named after it"
    assert refusal(tmp_path / "empty") == f"/empty{nothing}"
    save(tmp_path / "flat" / "x.png", [[0]])
    assert refusal(tmp_path / "flat") == f"/flat{nothing}"
    save(tmp_path / "some" / "a" / "x.png", [[0]])
    (tmp_path / "some" / "b").mkdir()
    assert refusal(tmp_path / "some").startswith("/some/b: no image of class 'b' (.png, .jpg,")


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n"])
def test_a_broken_image_is_named(tmp_path, content):
    save(tmp_path / "a" / "x.png", [[0]])
    (tmp_path / "a" / "y.png").write_bytes(content)
    loader = Loader(ImageFolderDataset(str(tmp_path), (1, 1), 1), batch_size=2, label="data.eval")
    with pytest.raises(DataError) as caught:
        list(loader.epoch(0))
    said = "not an image, or none of the formats PNG, JPEG, BMP, GIF, WEBP, TIFF, PPM"
    assert str(caught.value) == f"data.eval: sample 1: {tmp_path}/a/y.png: {said}"


def test_no_interpreter_sees_a_file_of_another_format(tmp_path, monkeypatch):
    """Pillow would pass PostScript to Ghostscript, whatever the file's name."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "cat.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n%%EOF\n")
    ran = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *arguments, **options: ran.append(arguments))
    dataset = ImageFolderDataset(str(tmp_path), (2, 2), 3)
    with pytest.raises(DataError, match=r"cat\.png: not an image, or none of the formats PNG, JPEG"):
        dataset[0]
    assert ran == []


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_under_any_suffix(tmp_path, kind):
    (tmp_path / "a").mkdir()
    Image.new("RGB", (8, 8), (255, 0, 0)).save(tmp_path / "a" / "x.jpg", format=kind)
    pixels, _ = ImageFolderDataset(str(tmp_path), (2, 2), 3)[0]
    np.testing.assert_allclose(pixels[:, 0, 0], [1, 0, 0], atol=0.02)


def test_a_photograph_with_a_second_picture_inside(tmp_path):
    """Cameras write MPO: a JPEG file with more pictures after the first."""
    (tmp_path / "a").mkdir()
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    first.save(tmp_path / "a" / "x.jpg", format="MPO", save_all=True, append_images=[second])
    pixels, _ = ImageFolderDataset(str(tmp_path), (2, 2), 3)[0]
    np.testing.assert_allclose(pixels[:, 0, 0], [1, 0, 0], atol=0.02)


def test_a_truncated_image_is_named(tmp_path):
    save(tmp_path / "a" / "x.png", np.random.default_rng(0).integers(0, 255, (64, 64)))
    whole = (tmp_path / "a" / "x.png").read_bytes()
    (tmp_path / "a" / "x.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"x\.png: OSError: "):
        ImageFolderDataset(str(tmp_path), (1, 1), 1)[0]


def test_deep_pixels_are_refused_not_clipped(tmp_path):
    (tmp_path / "a").mkdir()
    Image.fromarray(np.full((2, 2), 40000, np.uint16)).save(tmp_path / "a" / "x.png")
    with pytest.raises(DataError, match=r"x\.png: mode I;16; expected 8 bits a channel"):
        ImageFolderDataset(str(tmp_path), (2, 2), 1)[0]


def test_links(tmp_path):
    save(tmp_path / "a" / "x.png", [[0]])
    os.symlink(tmp_path, tmp_path / "a" / "up")
    os.symlink("loop", tmp_path / "loop")
    os.symlink(tmp_path / "a", tmp_path / "b")
    dataset = ImageFolderDataset(str(tmp_path), (1, 1), 1)
    assert dataset.classes == ("a", "b")
    assert len(dataset) == 2
    os.symlink("nowhere", tmp_path / "a" / "y.png")
    with pytest.raises(DataError, match=r"y\.png: not a regular file, or a link to nothing"):
        ImageFolderDataset(str(tmp_path), (1, 1), 1)[1]
