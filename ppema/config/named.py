"""Sections that name a thing of Paddle's, of ours or of the user's, and hold the arguments for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from ppema.config.duration import Duration
from ppema.config.section import Args, NotNegative, Positive, Section, Text
from ppema.config.wording import fault, shown


class Named(Section):
    """A name and its arguments; the name alone is short for a section without arguments."""

    name: Text = Field(description="A name that ppema knows, or a dotted path to a callable.")
    args: Args = Field(default={}, description="Keyword arguments, checked against what the name stands for.")

    @staticmethod
    def spelt_out(value: Any) -> Any:
        """The mapping that a shorthand stands for; anything else as it is."""
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="before")
    @classmethod
    def _take_shorthand(cls, value: Any) -> Any:
        if not isinstance(value, (str, Mapping, Named)):
            raise fault(f"expected a name or a mapping with a name, got {shown(value)}")
        return cls.spelt_out(value)


class Optimizer(Named):
    """How gradients become updates."""

    weight_decay: NotNegative | None = Field(
        default=None, description="L2 coefficient, or decoupled decay where the optimizer has it; null: none."
    )
    clip_norm: Positive | None = Field(
        default=None, description="Largest global norm of the gradients; greater ones are scaled down. null: no limit."
    )


class LearningRate(Named):
    """The learning rate over time; a number alone is a constant rate."""

    warmup: Duration | None = Field(
        default=None,
        description="The rate rises linearly from 0 to the schedule during this first part of the run; null: no warm-up.",
    )

    @staticmethod
    def spelt_out(value: Any) -> Any:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return {"name": "constant", "args": {"learning_rate": value}}
        return Named.spelt_out(value)

    @model_validator(mode="before")
    @classmethod
    def _take_shorthand(cls, value: Any) -> Any:
        if isinstance(value, (int, float)) and not 0 < value < float("inf"):
            raise fault(f"expected a number > 0, got {shown(value)}")
        if isinstance(value, bool) or not isinstance(value, (str, int, float, Mapping, LearningRate)):
            raise fault(f"expected a number > 0 or a mapping with a name, got {shown(value)}")
        return cls.spelt_out(value)
