"""Draws samples with their true and predicted classes as one image."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ppema.programs.model.pictured import NO_CLASS

WRONG, RIGHT = (214, 39, 40), (190, 190, 190)  # the colours of frames
FRAME = 4  # their width in pixels
_SIDE = 96  # of the square for a picture
_GAP, _LINE = 6, 14
_SIZE = 11  # of the font
_INK, _PAPER = (30, 30, 30), (255, 255, 255)
_IGNORED = (128, 128, 128)
_MOST_LEGEND = 40


def sample_grid(
    title: str,
    pictures: Sequence[np.ndarray],
    true: Sequence[np.ndarray],
    predicted: Sequence[np.ndarray],
    classes: int,
    names: Sequence[str] | None,
) -> np.ndarray:
    """All samples in a grid, [height, width, 3] uint8.

    A wrong class has a red frame, a cross in the corner, and the word "wrong". Of maps, picture, target and prediction are side
    by side in the colours of a legend. The first line is the title with the number of wrong ones.

    pictures: uint8 [H, W, 3]; true, predicted: int64, 0-D or a map [H, W], NO_CLASS for none. names: of the classes, None for
    numbers.
    """
    names = [_name(label, names) for label in range(classes)]
    wrong, counted = np.sum([_wrong(*each) for each in zip(true, predicted, strict=True)], axis=0)
    if predicted[0].ndim:
        title = f"{title}: {wrong / max(counted, 1):.1%} of pixels wrong"
        cells = [_cell_of_maps(*each, classes) for each in zip(pictures, true, predicted, strict=True)]
        legend = [_legend(names, cells[0].width)] if classes <= _MOST_LEGEND else []
    else:
        title = f"{title}: {wrong} of {counted} wrong"
        cells = [
            _cell(picture, int(label), int(found), names)
            for picture, label, found in zip(pictures, true, predicted, strict=True)
        ]
        legend = []
    columns = math.ceil(math.sqrt(len(cells) * cells[0].height / cells[0].width))
    rows = [_beside(cells[start : start + columns]) for start in range(0, len(cells), columns)]
    width = max(each.width for each in [*rows, *legend])
    return np.asarray(_below([_text_line(title, max(width, math.ceil(_font().getlength(title)) + _GAP)), *rows, *legend]))


def as_colours(arrays: Sequence[np.ndarray], channels: int) -> list[np.ndarray]:
    """Inputs of a model as pictures, uint8 [H, W, 3], all on one scale.

    arrays: [C, H, W] or [H, W, C] with 1 or 3 channels; channels: the axis of these, 0 or 2. Numbers in 0..1 are taken as they
    are, integers up to 255 as bytes. Otherwise the smallest number is black, and the largest is white.
    """
    finite = [np.where(np.isfinite(each), each, 0).astype(np.float64) for each in arrays]
    low, high = min(each.min() for each in finite), max(each.max() for each in finite)
    if low >= 0 and high <= 1:
        low, high = 0, 1
    elif low >= 0 and high <= 255 and arrays[0].dtype.kind == "i":
        low, high = 0, 255
    scale = 255 / (high - low) if high > low else 0
    shown = [np.moveaxis(np.rint((each - low) * scale).astype(np.uint8), channels, -1) for each in finite]
    return [np.repeat(each, 3, axis=2) if each.shape[2] == 1 else each for each in shown]


def class_colours(classes: int) -> np.ndarray:
    """A colour for each class, and one for NO_CLASS at the end: uint8 [classes + 1, 3]. The first class is dark."""
    hues = ((place * 0.618) % 1 for place in range(classes - 1))
    colours = [(40, 40, 40), *(tuple(round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.75, 0.95)) for hue in hues)]
    return np.array([*colours, _IGNORED], np.uint8)


def _cell(picture: np.ndarray, true: int, predicted: int, names: Sequence[str]) -> Image.Image:
    """One sample: its picture in a frame, and two lines of text below."""
    wrong = true not in (NO_CLASS, predicted)
    cell = _below([_framed(picture, WRONG if wrong else RIGHT), *(_text_line("", _SIDE + 2 * FRAME) for _ in range(2))])
    draw, top = ImageDraw.Draw(cell), _SIDE + 2 * FRAME
    if wrong:
        left, right = cell.width - 16, cell.width - 1
        draw.rectangle((left, 0, right, 15), fill=WRONG)
        for ends in ((left + 4, 4, right - 4, 11), (left + 4, 11, right - 4, 4)):
            draw.line(ends, fill=_PAPER, width=2)
    for line, (what, label) in enumerate((("wrong" if wrong else "predicted", predicted), ("true", true))):
        text = _fitted(f"{what}: {'none' if label == NO_CLASS else names[label]}", cell.width)
        draw.text((0, top + line * _LINE), text, fill=WRONG if wrong and not line else _INK, font=_font())
    return cell


def _cell_of_maps(picture: np.ndarray, true: np.ndarray, predicted: np.ndarray, classes: int) -> Image.Image:
    """One sample with a class for each pixel: picture, target and prediction, each with a line of text."""
    colours, (wrong, counted) = class_colours(classes), _wrong(true, predicted)
    texts = (("picture", ""), ("true", ""), ("predicted", f"{wrong / max(counted, 1):.1%} wrong"))
    framed = [_framed(each, RIGHT) for each in (picture, colours[true], colours[predicted])]
    columns = ([each, *(_text_line(text, each.width) for text in lines)] for each, lines in zip(framed, texts, strict=True))
    return _beside([_below(column) for column in columns])


def _wrong(true: np.ndarray, predicted: np.ndarray) -> tuple[int, int]:
    """How many classes are wrong, and how many there are."""
    counted = true != NO_CLASS
    return int(np.sum(counted & (true != predicted))), int(np.sum(counted))


def _framed(pixels: np.ndarray, colour: tuple[int, int, int]) -> Image.Image:
    """A picture uint8 [H, W, 3], as large as its square allows: each of its pixels is a square, if it is small."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    longest = max(image.size)
    if longest <= _SIDE:
        image = image.resize((image.width * (_SIDE // longest), image.height * (_SIDE // longest)), Image.Resampling.NEAREST)
    else:
        width, height = (max(1, round(side * _SIDE / longest)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BOX)
    framed = Image.new("RGB", (_SIDE + 2 * FRAME, _SIDE + 2 * FRAME), colour)
    framed.paste(_PAPER, (FRAME, FRAME, FRAME + _SIDE, FRAME + _SIDE))
    framed.paste(image, (FRAME + (_SIDE - image.width) // 2, FRAME + (_SIDE - image.height) // 2))
    return framed


def _legend(names: Sequence[str], width: int) -> Image.Image:
    """Colour and name of each class, in lines of at most `width` pixels."""
    entries = []
    for colour, name in zip(class_colours(len(names)), names, strict=False):
        text = _fitted(name, width - _LINE)
        entry = _text_line("", _LINE + math.ceil(_font().getlength(text)))
        draw = ImageDraw.Draw(entry)
        draw.rectangle((0, 2, 9, 11), fill=tuple(map(int, colour)))
        draw.text((_LINE, 0), text, fill=_INK, font=_font())
        entries.append(entry)
    lines: list[list[Image.Image]] = [[]]
    for entry in entries:
        if lines[-1] and sum(each.width + 2 * _GAP for each in [*lines[-1], entry]) > width:
            lines.append([])
        lines[-1].append(entry)
    return _below([_beside(line) for line in lines])


def _text_line(text: str, width: int) -> Image.Image:
    line = Image.new("RGB", (width, _LINE), _PAPER)
    ImageDraw.Draw(line).text((0, 0), text, fill=_INK, font=_font())
    return line


def _beside(images: Sequence[Image.Image]) -> Image.Image:
    return _joined(images, across=True)


def _below(images: Sequence[Image.Image]) -> Image.Image:
    return _joined(images, across=False)


def _joined(images: Sequence[Image.Image], *, across: bool) -> Image.Image:
    """`images` in a row or in a column, with a gap between those in a row."""
    gap = _GAP if across else 0
    sizes = [(each.width + gap, each.height) for each in images]
    widths, heights = zip(*sizes, strict=True)
    joined = Image.new("RGB", (sum(widths), max(heights)) if across else (max(widths), sum(heights)), _PAPER)
    at = 0
    for image, (width, height) in zip(images, sizes, strict=True):
        joined.paste(image, (at, 0) if across else (0, at))
        at += width if across else height
    return joined


def _name(label: int, names: Sequence[str] | None) -> str:
    """The name of a class, or its number: without names, and for a name in a script that the font lacks."""
    if names is None or label >= len(names):
        return str(label)
    try:
        names[label].encode("latin-1")
    except UnicodeEncodeError:
        return str(label)
    return names[label]


def _fitted(text: str, width: int) -> str:
    """`text`, cut at the end to `width` pixels."""
    if _font().getlength(text) <= width:
        return text
    while text and _font().getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(_SIZE)
