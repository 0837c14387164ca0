"""Mirror images."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import AliasChoices, Field

from ppema.data.transforms.draws import Draws
from ppema.data.transforms.transform import Probability, Transform

# torchvision calls the probability p, and Paddle prob.
Chance = Annotated[Probability, Field(validation_alias=AliasChoices("p", "prob"))]


class RandomHorizontalFlip(Transform):
    """Exchanges left and right, with probability `p`."""

    p: Chance = 0.5

    def draw(self, draws: Draws, shape: tuple[int, ...]) -> np.ndarray:
        return draws.chance(self.p)

    def apply(self, images: np.ndarray, drawn: np.ndarray) -> np.ndarray:
        images[drawn] = images[drawn, :, :, ::-1]
        return images


class RandomVerticalFlip(Transform):
    """Exchanges top and bottom, with probability `p`."""

    p: Chance = 0.5

    def draw(self, draws: Draws, shape: tuple[int, ...]) -> np.ndarray:
        return draws.chance(self.p)

    def apply(self, images: np.ndarray, drawn: np.ndarray) -> np.ndarray:
        images[drawn] = images[drawn, :, ::-1]
        return images
