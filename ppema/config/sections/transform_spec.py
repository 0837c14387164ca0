"""The config section of a transform of samples."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ppema.config.section import Text, examples
from ppema.config.sections.named import Named


class TransformSpec(Named):
    """A transform of samples: one of ppema, under the name that torchvision and Paddle use, or your own, by dotted path."""

    model_config = examples(
        "RandomHorizontalFlip",
        {"name": "RandomCrop", "args": {"size": 32, "padding": 4}},
        {"name": "RandomRotation", "args": {"degrees": 15, "mask_fill": 255}, "fields": ["image", "mask"]},
        {"name": "my_transforms.Blur", "args": {"radius": 2}},
    )

    fields: Annotated[tuple[Text, ...], Field(min_length=1)] | None = Field(
        default=None, description="Fields that it changes, all with the same draws. null: the first input."
    )
