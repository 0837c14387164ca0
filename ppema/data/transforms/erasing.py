"""Rectangles of one colour, or of noise, in place of parts of images."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np

from ppema.config.wording import expecting
from ppema.data.transforms.boxes import drawn_sides
from ppema.data.transforms.draws import Draws
from ppema.data.transforms.flips import Chance
from ppema.data.transforms.transform import Fill, Ratios, Shares, Transform


class RandomErasing(Transform):
    """One rectangle, with probability `p`: Zhong et al. 2020, "Random erasing data augmentation", algorithm 1.

    scale: least and most share of the image's area; ratio: of height to width; value: a number, one for each channel, or
    "random" for N(0, 1) in every pixel. The rectangle is smaller than the image.
    """

    geometric: ClassVar[bool] = False

    p: Chance = 0.5
    scale: Shares = (0.02, 0.33)
    ratio: Ratios = (0.3, 3.3)
    value: Annotated[Fill | Literal["random"], expecting("a number, one for each channel, or random")] = 0.0

    def draw(self, draws: Draws, shape: tuple[int, ...]) -> tuple[list[tuple[int, ...]], np.ndarray | None]:
        """The boxes (row of the batch, top, bottom, left, right), and the noise [boxes, C, H, W] for them."""
        height, width = shape[-2:]
        rows, columns, valid = drawn_sides(draws, (height, width), self.scale, self.ratio, (height - 1, width - 1))
        erased = np.flatnonzero(draws.chance(self.p) & valid)
        top, left = draws.integers(height - rows + 1), draws.integers(width - columns + 1)
        boxes = np.stack([np.arange(len(top)), top, top + rows, left, left + columns], axis=1)[erased]
        return boxes.tolist(), draws.at(erased).normals(shape) if self.value == "random" else None

    def apply(self, images: np.ndarray, drawn: tuple[list[tuple[int, ...]], np.ndarray | None]) -> np.ndarray:
        boxes, noise = drawn
        if noise is None:
            value = np.asarray(self.value, images.dtype).reshape(-1, 1, 1)
            for row, top, bottom, left, right in boxes:
                images[row, :, top:bottom, left:right] = value
        else:
            for (row, top, bottom, left, right), each in zip(boxes, noise, strict=True):
                images[row, :, top:bottom, left:right] = each[:, top:bottom, left:right]
        return images
