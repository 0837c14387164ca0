"""Normalisation with given numbers."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from ppema.config.section import Positive
from ppema.config.wording import expecting
from ppema.data.fields import Field as SampleField
from ppema.data.transforms.transform import Fill, Transform


class ChannelNormalize(Transform):
    """(x - mean) / std, with one number for each channel or feature, or one for all."""

    images: ClassVar[bool] = False
    random: ClassVar[bool] = False
    geometric: ClassVar[bool] = False

    mean: Fill
    std: Annotated[
        Positive | Annotated[tuple[Positive, ...], Field(min_length=1)], expecting("a number > 0, or one for each channel")
    ]

    def fault(self, field: SampleField) -> str | None:
        for numbers in (self.mean, self.std):
            count = np.size(numbers)
            if count > 1 and (not field.shape or field.shape[0] != count):
                return (
                    f"{count} numbers for samples of shape {list(field.shape)}: expected one for each channel, the first axis"
                )
        return None

    def apply(self, images: np.ndarray, drawn: Any) -> np.ndarray:
        mean, std = (np.asarray(each, np.float32).reshape(-1, *(1,) * (images.ndim - 2)) for each in (self.mean, self.std))
        images -= mean
        images /= std
        return images
