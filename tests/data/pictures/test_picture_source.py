"""Picture files in batches: which files, in what order, and each kind of broken file in one line."""

import os
import runpy
import struct
import threading
import warnings
import zlib
from itertools import zip_longest

import numpy as np
import pytest
from PIL import Image

from ppema.data.inputs import BatchTurns
from ppema.data.pictures import decoding
from ppema.data.pictures.decoding import MOST_PIXELS
from ppema.data.pictures.picture_files import PictureFiles
from ppema.data.pictures.picture_source import PictureSource
from ppema.data.pictures.preprocessing import Preprocessing
from ppema.errors import DataError
from ppema.ranks import Ranks

GREY = Preprocessing(channels=1, size=(2, 3), input="x", shape=(1, 2, 3))
UNSIZED = Preprocessing(channels=1, size=None, input="x", shape=(1, 2, 3))


def save(path, value, size=(2, 3)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, value, np.uint8)).save(path)
    return path


def found(*paths):
    return [path for path, _ in PictureFiles(paths)]


def all_of(source, batch_size=4):
    """Names, the grey of each, and (name, reason) of those left out."""
    batches = list(source.batches(batch_size, BatchTurns()))
    names = [name for batch in batches for name in batch.names]
    greys = [round(float(picture.mean()) * 255) for batch in batches for picture in batch.arrays[0]]
    return names, greys, [each for batch in batches for each in batch.failed]


def test_which_files_and_their_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("cat/b.png", "cat/a.JPG", "cat/old/c.png", "ant/z.png", "10.png", "9.png", ".hidden/x.png", "cat/.y.png"):
        save(tmp_path / "photos" / name, 0)
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    save(tmp_path / "photos" / "folder.png" / "d.png", 0)
    os.symlink(tmp_path / "photos", tmp_path / "photos" / "cat" / "up")
    os.symlink(tmp_path / "photos" / "ant", tmp_path / "photos" / "cat" / "other")
    inside = ["10.png", "9.png", "ant/z.png", "cat/a.JPG", "cat/b.png", "cat/old/c.png", "cat/other/z.png", "folder.png/d.png"]
    assert found("photos") == [f"photos/{each}" for each in inside]
    assert len(PictureFiles(["photos"])) == len(inside)
    assert found("photos/notes.txt", tmp_path / "photos" / "ant/", "photos/9.png") == [
        "photos/notes.txt",
        f"{tmp_path}/photos/ant/z.png",
        "photos/9.png",
    ]


def test_no_pictures_at_all(tmp_path):
    def refusal(*paths):
        with pytest.raises(DataError) as caught:
            PictureSource(paths, GREY, "skip")
        return str(caught.value).removeprefix(str(tmp_path))

    (tmp_path / "empty" / "below").mkdir(parents=True)
    save(tmp_path / "x.png", 0)
    assert refusal() == "no picture: give files or folders"
    assert refusal(tmp_path / "x.png", tmp_path / "none") == "/none: no such file or folder"
    suffixes = ".png, .jpg, .jpeg, .bmp, .gif, .webp, .tif, .tiff, .ppm, .pgm"
    assert refusal(tmp_path / "x.png", tmp_path / "empty") == f"/empty: no picture in this folder ({suffixes})"


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_keep_the_order_for_any_number_of_threads(tmp_path, threads):
    for number in range(100):
        save(tmp_path / f"{number:03}.png", number)
    source = PictureSource([tmp_path], GREY, threads=threads)
    assert source.total == 100
    batches = list(source.batches(32, BatchTurns()))
    assert [len(batch.names) for batch in batches] == [32, 32, 32, 4]
    assert [batch.arrays[0].shape[1:] for batch in batches] == [(1, 2, 3)] * 4
    names, greys, failed = all_of(source, 7)
    assert (names, greys, failed) == ([str(tmp_path / f"{each:03}.png") for each in range(100)], list(range(100)), [])


def test_ranks_decode_the_files_of_their_turns(tmp_path):
    """Files that are left out do not move others into another batch."""
    for number in range(23):
        save(tmp_path / f"{number:02}.png", number)
    (tmp_path / "05.png").write_text("no picture")
    source = PictureSource([tmp_path], GREY, "skip")
    whole = [(each.names, each.failed) for each in source.batches(4, BatchTurns())]
    assert [len(names) for names, _ in whole] == [4, 3, 4, 4, 4, 3]
    for size in (2, 5, 8):
        parts = [list(source.batches(4, BatchTurns(Ranks(rank, size)))) for rank in range(size)]
        assert [(each.names, each.failed) for turn in zip_longest(*parts) for each in turn if each is not None] == whole


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(width, height):
    """A PNG file of a few bytes with a header for width x height grey pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


NO_FILE = "not a regular file, or a link to nothing"
NO_IMAGE = "not an image, or none of the formats PNG, JPEG, BMP, GIF, WEBP, TIFF, PPM"
TOO_LARGE = f"more than {MOST_PIXELS:,} pixels; make it smaller"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_each_broken_file_is_one_line(tmp_path):
    save(tmp_path / "a.png", 7)
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("no picture")
    whole = save(tmp_path / "cut.png", np.random.default_rng(0).integers(0, 256, (64, 64)), (64, 64)).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(np.full((2, 3), 40000, np.uint16)).save(tmp_path / "deep.png")
    os.mkfifo(tmp_path / "pipe.png")
    os.symlink("nowhere", tmp_path / "link.png")
    os.symlink("loop.png", tmp_path / "loop.png")
    for name, sides in {"bomb1": (10_000, 8_949), "bomb2": (20_000, 20_000), "bomb3": (2**31 - 1, 2**31 - 1)}.items():
        (tmp_path / f"{name}.png").write_bytes(bomb(*sides))
    (tmp_path / "two\nlines.png").write_text("no picture")
    os.mkdir(tmp_path / "zz.png")
    save(tmp_path / "z.png", 9)
    names, greys, failed = all_of(PictureSource([tmp_path], GREY, "skip"))
    assert (names, greys) == ([f"{tmp_path}/a.png", f"{tmp_path}/z.png"], [7, 9])
    assert [os.path.basename(name) for name, _ in failed] == sorted(os.path.basename(name) for name, _ in failed)
    reasons = {os.path.basename(name): reason for name, reason in failed}
    assert reasons.pop("cut.png").startswith("OSError: ")
    assert reasons == {
        "empty.png": NO_IMAGE,
        "text.png": NO_IMAGE,
        "deep.png": "mode I;16; expected 8 bits a channel",
        "pipe.png": NO_FILE,
        "link.png": NO_FILE,
        "loop.png": NO_FILE,
        "bomb1.png": TOO_LARGE,
        "bomb2.png": TOO_LARGE,
        "bomb3.png": TOO_LARGE,
        "two\nlines.png": NO_IMAGE,
    }


def test_pillow_does_not_warn_of_what_is_refused(tmp_path):
    (tmp_path / "x.png").write_bytes(bomb(10_000, 8_949))
    with warnings.catch_warnings(record=True) as seen:
        decoded = runpy.run_path(decoding.__file__)["decoded"]  # as its import sets the filters of warnings
        with pytest.raises(DataError, match=rf"x\.png: {TOO_LARGE}$"):
            decoded(tmp_path / "x.png", (2, 2), 1)
    assert seen == []


def test_stop_ends_at_the_first_broken_file_after_the_batches_before_it(tmp_path):
    for number in range(40):
        save(tmp_path / f"{number:02}.png", number)
    (tmp_path / "20.png").write_text("no picture")
    (tmp_path / "30.png").write_text("no picture")
    batches = PictureSource([tmp_path], GREY).batches(8, BatchTurns())
    assert [len(next(batches).names) for _ in range(2)] == [8, 8]
    with pytest.raises(DataError, match=rf"^{tmp_path}/20\.png: {NO_IMAGE}$"):
        next(batches)
    assert not [each for each in threading.enumerate() if each.name.startswith("ppema pictures")]


def test_a_size_that_the_run_can_not_change_is_refused_before_decoding(tmp_path):
    save(tmp_path / "a.png", 7)
    save(tmp_path / "b.png", 8, (3, 2))
    (tmp_path / "c.png").write_bytes(bomb(5000, 5000)[:-20])
    said = "its height x width is {}; the model takes 2 x 3, and its run resized nothing"
    names, _, failed = all_of(PictureSource([tmp_path], UNSIZED, "skip"))
    assert names == [f"{tmp_path}/a.png"]
    assert failed == [(f"{tmp_path}/b.png", said.format("3 x 2")), (f"{tmp_path}/c.png", said.format("5000 x 5000"))]
    names, greys, failed = all_of(PictureSource([tmp_path / "b.png"], UNSIZED, "skip"))
    assert (names, greys, len(failed)) == ([], [], 1), "a batch of no samples carries what was left out"


def test_transforms_of_pictures_of_several_sizes(tmp_path):
    """Each is as it is alone, and one that does not fit is named."""
    for name, size in {"a": (4, 5), "b": (6, 7), "c": (2, 2)}.items():
        save(tmp_path / f"{name}.png", ord(name), size)
    crop = {"name": "CenterCrop", "args": {"size": [3, 4]}}
    made = Preprocessing(channels=1, size=None, input="x", shape=(1, 3, 4), transforms=[crop])
    names, greys, failed = all_of(PictureSource([tmp_path / "a.png", tmp_path / "b.png"], made, "skip"))
    assert (names, greys, failed) == ([f"{tmp_path}/a.png", f"{tmp_path}/b.png"], [97, 98], [])
    names, greys, failed = all_of(PictureSource([tmp_path], made, "skip"))
    assert (names, greys) == ([f"{tmp_path}/a.png", f"{tmp_path}/b.png", f"{tmp_path}/c.png"], [97, 98, 33])
    small = made.replace(transforms=[{"name": "Pad", "args": {"padding": 1}}], shape=(1, 6, 7))
    names, _, failed = all_of(PictureSource([tmp_path], small, "skip"))
    other = "float32 [1, {}] after the transforms; the model takes float32 [1, 6, 7]"
    assert names == [f"{tmp_path}/a.png"]
    assert failed == [(f"{tmp_path}/b.png", other.format("8, 9")), (f"{tmp_path}/c.png", other.format("4, 4"))]
    with pytest.raises(DataError, match=rf"^{tmp_path}/b\.png: float32 \[1, 8, 9\] after the transforms"):
        list(PictureSource([tmp_path], small).batches(3, BatchTurns()))


def test_what_may_not_be_read(tmp_path, monkeypatch):
    """Root may read everything, so the system's refusal is imitated."""
    save(tmp_path / "shut" / "x.png", 0)
    save(tmp_path / "x.png", 1)
    scan, opened = os.scandir, Image.open

    def refusing(function, name):
        def call(path, *arguments, **options):
            if os.path.basename(path) == name:
                raise PermissionError(13, "Permission denied", path)
            return function(path, *arguments, **options)

        return call

    monkeypatch.setattr(os, "scandir", refusing(scan, "shut"))
    monkeypatch.setattr(Image, "open", refusing(opened, "x.png"))
    source = PictureSource([tmp_path], GREY, "skip")
    assert source.total == 2
    assert all_of(source)[2] == [(f"{tmp_path}/x.png", "Permission denied"), (f"{tmp_path}/shut", "Permission denied")]


def test_a_file_that_vanishes_and_a_name_that_is_no_text(tmp_path):
    save(tmp_path / "a.png", 1)
    gone = save(tmp_path / "b.png", 2)
    bytes_name = os.fsencode(tmp_path) + b"/c\xff.png"
    os.rename(save(tmp_path / "c.png", 3), bytes_name)
    source = PictureSource([tmp_path], GREY, "skip")
    gone.unlink()
    names, greys, failed = all_of(source)
    assert (names, greys) == ([f"{tmp_path}/a.png", f"{tmp_path}/c\\udcff.png"], [1, 3])
    assert failed == [(f"{tmp_path}/b.png", NO_FILE)]
