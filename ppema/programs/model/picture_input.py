"""Pictures as bytes, as the input of a program: what a run does with them after decoding and resizing, as operations."""

from __future__ import annotations

import numpy as np
import paddle

from ppema.config import Config
from ppema.data.pictures.preprocessing import Preprocessing
from ppema.data.transforms.channel_normalize import ChannelNormalize
from ppema.data.transforms.colors import LUMA, Grayscale
from ppema.data.transforms.table import build_transform
from ppema.errors import ConfigError
from ppema.ir import Variable


def picture_shape(preparation: Preprocessing) -> tuple[int, int, int]:
    """(H, W, C) of the pictures that `pictures` takes."""
    height, width = preparation.size or preparation.shape[1:]
    return height, width, preparation.channels


def pictures(config: Config, preparation: Preprocessing) -> Variable:
    """Append an input of bytes, uint8 [N, H, W, C], to the default main program, and the `preparation` of its pictures.

    Returns float32 [N, *shape]. Raises ConfigError for a transform of `data.eval` that is more than arithmetic on the channels
    of a pixel.
    """
    name = preparation.input
    found = paddle.static.data(name, [-1, *picture_shape(preparation)], "uint8")
    found = paddle.cast(found, "float32") / _constant([1 / preparation.scale])
    found = paddle.transpose(found, [0, 3, 1, 2])
    for place, spec in enumerate(preparation.transforms):
        match build_transform(spec, 1):
            case ChannelNormalize(mean=mean, std=std):
                found = (found - _constant(mean)) / _constant(std)
            case Grayscale(num_output_channels=count):
                grey = found if found.shape[1] == 1 else (found * _constant(LUMA)).sum(axis=1, keepdim=True)
                found = grey if count == 1 else paddle.concat([grey] * count, axis=1)
            case _:
                with config.at("data", "eval"):
                    raise ConfigError.of(
                        f"{spec.name} can not be a part of the exported program, only Normalize and Grayscale can: export "
                        "without preprocess",
                        "transforms",
                        place,
                    )
    return found


def _constant(numbers: object) -> Variable:
    """float32[1, C, 1, 1]."""
    return paddle.assign(np.asarray(numbers, np.float32).reshape(1, -1, 1, 1))
