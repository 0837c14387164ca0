"""Groups of variables that are trained in another way than the rest."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from ppema.config.section import Flag, InFloat32, NotNegative, Positive, Section, Text, examples
from ppema.config.wording import faults


class Group(Section):
    """Variables that one regular expression matches, and how they are trained. A variable is in one group at most."""

    model_config = examples(
        {"match": "^backbone", "lr_scale": 0.1, "weight_decay": 0.0},
        {"match": "^stem", "frozen": True},
    )

    match: Text = Field(description="Regular expression on names of variables, or on their places in the model.")
    lr_scale: Annotated[Positive, InFloat32] | None = Field(default=None, description="Factor of the learning rate. null: 1.")
    weight_decay: Annotated[NotNegative, InFloat32] | None = Field(
        default=None,
        description="In place of `optimizer.weight_decay`. AdamW and Lamb take 0 only. null: the optimizer's.",
    )
    frozen: Flag = Field(
        default=False, description="Whether the variables stay as they begin, BatchNorm's statistics included."
    )

    @model_validator(mode="after")
    def _says_something(self) -> Group:
        trained = [key for key in ("lr_scale", "weight_decay") if getattr(self, key) is not None]
        if self.frozen and trained:
            raise faults([((trained[0],), "frozen variables are not trained: remove it")])
        if not self.frozen and not trained:
            raise faults([((), "expected lr_scale, weight_decay or frozen: true")])
        return self
