"""The section `mix`: mixup and cutmix of training batches."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Strict, model_validator

from ppema.config.section import Section, Text, examples
from ppema.config.wording import expecting, faults

_Alpha = Annotated[float, Strict(), Field(gt=0, le=1000, allow_inf_nan=False), expecting("a number in (0, 1000]")]
_Chance = Annotated[float, Strict(), Field(ge=0, le=1, allow_inf_nan=False), expecting("a number in [0, 1]")]


class Mix(Section):
    """Mixes each training sample with another one of its batch, and their targets in the same shares."""

    model_config = examples(
        {"mixup": 0.2},
        {"mixup": 0.8, "cutmix": 1.0, "prob": 0.9, "switch": 0.5},
        {"mixup": 0.2, "inputs": ["image"]},
    )

    mixup: _Alpha | None = Field(
        default=None,
        description="Blends whole inputs. The share of the sample itself is drawn from Beta(mixup, mixup) for each batch. "
        "null: no mixup.",
    )
    cutmix: _Alpha | None = Field(
        default=None,
        description="Replaces a box of each image [C, H, W]. The share of the rest is drawn from Beta(cutmix, cutmix) for each "
        "batch. null: no cutmix.",
    )
    prob: _Chance = Field(default=1.0, description="Probability that a batch is mixed.")
    switch: _Chance = Field(default=0.5, description="Probability of cutmix for a mixed batch, if both have a number.")

    inputs: Annotated[tuple[Text, ...], Field(min_length=1)] | None = Field(
        default=None,
        description="Names of the inputs that are mixed, all with the same share and box; others stay as they are. "
        "null: the only input. Required, if there are several.",
    )

    @model_validator(mode="after")
    def _something_to_mix(self) -> Mix:
        if self.mixup is None and self.cutmix is None:
            raise faults([((), "expected mixup, cutmix or both: {mixup: 0.2}")])
        return self
