"""The config section of a group: variables with their own learning rate or weight decay, or without training."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from ppema.config.duration import Duration
from ppema.config.section import Flag, InFloat32, NotNegative, Positive, Section, Text, examples
from ppema.config.wording import faults


class Group(Section):
    """The treatment of variables that match a regular expression. A variable is in at most one group."""

    model_config = examples(
        {"match": "^backbone", "lr_scale": 0.1, "weight_decay": 0.0},
        {"match": "^stem", "frozen": True},
        {"match": "^head", "frozen_for": "2 epochs"},
    )

    match: Text = Field(description="Regular expression on names of variables, or on their places in the model.")
    lr_scale: Annotated[Positive, InFloat32] | None = Field(default=None, description="Factor of the learning rate. null: 1.")
    weight_decay: Annotated[NotNegative, InFloat32] | None = Field(
        default=None,
        description="Replaces `optimizer.weight_decay`. AdamW and Lamb allow only 0. null: the optimizer's.",
    )
    frozen: Flag = Field(
        default=False, description="Whether the variables keep their initial values, including the statistics of BatchNorm."
    )

    frozen_for: Duration | None = Field(
        default=None,
        description="How long the variables are frozen from the start of the run on, including the statistics of BatchNorm. "
        "null: they are trained from the start.",
    )

    @model_validator(mode="after")
    def _says_something(self) -> Group:
        trained = [key for key in ("lr_scale", "weight_decay", "frozen_for") if getattr(self, key) is not None]
        if self.frozen and trained:
            raise faults([((trained[0],), "frozen variables are not trained: remove it")])
        if not self.frozen and not trained:
            raise faults([((), "expected lr_scale, weight_decay, frozen_for or frozen: true")])
        return self
