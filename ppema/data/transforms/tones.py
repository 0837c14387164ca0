"""Sharpness, and the operations on tones that RandAugment uses, for images in [0, 1]."""

from __future__ import annotations

import numpy as np

from ppema.data.transforms.colors import blended


def sharpness(images: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Smoothed for factor 0: by weights 1 around a 5, over 13, except for the pixels of the border. As in Pillow."""
    if min(images.shape[2:]) < 3:
        return images
    smooth = images.copy()
    middle = smooth[:, :, 1:-1, 1:-1]
    middle *= np.float32(4)
    height, width = middle.shape[2:]
    for row in range(3):
        for column in range(3):
            middle += images[:, :, row : row + height, column : column + width]
    middle /= np.float32(13)
    return blended(images, smooth, factor)


def posterize(images: np.ndarray, bits: int) -> np.ndarray:
    """The `bits` upper ones of the 8 bits of each value."""
    return _from_bytes(_bytes(images) & (0xFF << (8 - bits) & 0xFF))


def solarize(images: np.ndarray, threshold: float) -> np.ndarray:
    """1 - x for every x ≥ threshold."""
    return np.where(images >= np.float32(threshold), 1 - images, images)


def autocontrast(images: np.ndarray) -> np.ndarray:
    """Each channel stretched to [0, 1]. A constant channel stays."""
    low, high = images.min(axis=(2, 3), keepdims=True), images.max(axis=(2, 3), keepdims=True)
    flat = low == high
    scale = 1 / np.where(flat, np.float32(1), high - low)
    return np.clip((images - np.where(flat, np.float32(0), low)) * scale, 0, 1)


def equalize(images: np.ndarray) -> np.ndarray:
    """The histogram of the 256 values of each channel made even, as Pillow's `ImageOps.equalize` does."""
    n, channels = images.shape[:2]
    values = _bytes(images).reshape(n * channels, -1)
    planes = np.arange(n * channels)[:, None]
    counts = np.bincount((planes * 256 + values).ravel(), minlength=n * channels * 256).reshape(-1, 256)
    last = 255 - (counts[:, ::-1] != 0).argmax(axis=1)
    step = (values.shape[1] - counts[planes[:, 0], last])[:, None] // 255
    below = np.cumsum(counts, axis=1) - counts
    table = np.where(step == 0, np.arange(256), np.minimum((below + step // 2) // np.maximum(step, 1), 255))
    return _from_bytes(table[planes, values]).reshape(images.shape)


def _bytes(images: np.ndarray) -> np.ndarray:
    """The values rounded to 0..255, int64."""
    return np.rint(images * np.float32(255)).astype(np.int64)


def _from_bytes(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32) / np.float32(255)
