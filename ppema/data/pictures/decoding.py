"""Decodes picture files. Training, evaluation and prediction use this one way, so that a file has the same pixels in all."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable

import numpy as np
from PIL import Image, UnidentifiedImageError

from ppema.errors import DataError, escaped, one_line

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
# Pillow tries only these formats, whatever the file's name. Its other readers may run programs (Ghostscript for PostScript).
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
MODES = {1: "L", 3: "RGB"}
DEEP_MODES = ("I", "F")  # more than 8 bits a channel: Pillow would clip the values instead of scaling them
# A small file may hold a huge picture. Pillow only warns above this number, and raises an error above twice as many.
MOST_PIXELS = 89_478_485
_TOO_LARGE = f"more than {MOST_PIXELS:,} pixels; make it smaller"

# `decoded` refuses these pictures by an error of its own.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def decoded(
    path: str | os.PathLike[str],
    size: tuple[int, int] | None,
    channels: int,
    refuse: Callable[[tuple[int, int]], str | None] = lambda size: None,
) -> np.ndarray:
    """The picture in the file `path`, [channels, H, W] float32 in [0, 1]: 255ths. Of an animation, it is the first picture.

    size: (H, W). The picture is resized to it bilinearly (by Pillow, antialiased), without keeping proportions. None: it keeps
        its own size.
    channels: 1 converts to grey, 3 to RGB. Transparency is dropped. EXIF orientation is not applied.
    refuse: called with the picture's own size before it is decoded. Returns the reason against it, or None.

    Raises DataError, one line that names the file, if it is no regular file, has none of FORMATS, is damaged, has more than 8
    bits a channel or more than MOST_PIXELS, or is refused.
    """
    name = escaped(os.fspath(path))
    try:
        return _decoded(path, size, channels, refuse)
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    except UnidentifiedImageError as error:
        raise DataError(f"{name}: not an image, or none of the formats {', '.join(FORMATS)}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{name}: {_TOO_LARGE}") from error
    except Exception as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)
        raise DataError(f"{name}: {reason}") from error


def _decoded(
    path: str | os.PathLike[str], size: tuple[int, int] | None, channels: int, refuse: Callable[[tuple[int, int]], str | None]
) -> np.ndarray:
    """As `decoded`. Its own errors do not name the file."""
    if not os.path.isfile(path):  # opening a named pipe would wait for its other end
        raise DataError("not a regular file, or a link to nothing")
    with Image.open(path, formats=FORMATS) as image:
        width, height = image.size
        if width * height > MOST_PIXELS:
            raise DataError(_TOO_LARGE)
        if image.mode.startswith(DEEP_MODES):
            raise DataError(f"mode {image.mode}; expected 8 bits a channel")
        if (reason := refuse((height, width))) is not None:
            raise DataError(reason)
        image.load()
        image.info.pop("transparency", None)  # Pillow would warn that it drops it
        converted = image.convert(MODES[channels])
        if size is not None:
            converted = converted.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    pixels = np.asarray(converted, np.float32).reshape(converted.height, converted.width, channels) / np.float32(255)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))
