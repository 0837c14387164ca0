"""Pictures as bytes, on which a program that takes them is compared with the preparation of picture files."""

from __future__ import annotations

from contextlib import closing

import numpy as np

from ppema.data import Loader
from ppema.data.pictures.preprocessing import PictureReader, Preprocessing


def picture_bytes(evaluated: Loader, most: int) -> np.ndarray:
    """The first `most` pictures of `evaluated` before its transforms, uint8 [n, H, W, C]. Raises DataError."""
    with closing(evaluated.part(None, batch_size=most, workers=0)) as loader:
        pictures = next(iter(loader.epoch(0))).arrays[0]
    return np.rint(pictures * 255).clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


def prepared(preparation: Preprocessing, pictures: np.ndarray) -> np.ndarray:
    """Decoded and resized pictures, uint8 [n, H, W, C], as the input of the model, by the reader of picture files."""
    floats = pictures.astype(np.float32) / np.float32(255)
    return PictureReader(preparation).transformed(np.ascontiguousarray(floats.transpose(0, 3, 1, 2)))
