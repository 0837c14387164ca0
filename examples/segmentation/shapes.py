"""Pictures of discs and squares on noise, with the class of every pixel: data for segmentation without a download."""

from __future__ import annotations

import numpy as np


class Shapes:
    """`count` pictures of size x size pixels, each with one to three shapes, which may overlap.

    A sample is a mapping: image float32 [1, size, size] in [0, 1], and mask int64 [size, size], 0 for ground, 1 for a disc and
    2 for a square.
    """

    def __init__(self, count: int, split: str, size: int = 32, noise: float = 0.3):
        self.count, self.size, self.noise = count, size, noise
        self.first = {"train": 0, "test": 1_000_000}[split]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(self.first + index)
        rows, columns = np.mgrid[: self.size, : self.size]
        mask = np.zeros((self.size, self.size), np.int64)
        image = np.full(mask.shape, 0.3)
        for _ in range(rng.integers(1, 4)):
            row, column = rng.uniform(4, self.size - 4, 2)
            radius, brightness = rng.uniform(3, 8), rng.uniform(0.5, 0.9)
            kind = rng.integers(1, 3)
            if kind == 1:
                inside = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
            else:
                inside = np.maximum(abs(rows - row), abs(columns - column)) <= 0.9 * radius
            mask[inside], image[inside] = kind, brightness
        image += self.noise * rng.normal(size=mask.shape)
        return {"image": image.clip(0, 1)[None].astype(np.float32), "mask": mask}
