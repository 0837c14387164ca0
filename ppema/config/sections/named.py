"""Sections that name a class or function of Paddle, ppema or the user, and hold its arguments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from ppema.config.duration import Duration
from ppema.config.section import Args, InFloat32, NotNegative, Positive, Section, Text, examples
from ppema.config.wording import fault, faults, not_in_float32
from ppema.values import shown


class Named(Section):
    """A name and its arguments. The name alone is short for a section without arguments."""

    model_config = examples("mlp", {"name": "paddle.vision.models.resnet18", "args": {"num_classes": 10}})

    name: Text = Field(description="A name that ppema knows, or a dotted path to a callable.")
    args: Args = Field(default={}, description="Keyword arguments of the named class or function.")

    @staticmethod
    def spelt_out(value: Any) -> Any:
        """The mapping that a shorthand `value` abbreviates; any other value unchanged."""
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="before")
    @classmethod
    def _take_shorthand(cls, value: Any) -> Any:
        if not isinstance(value, (str, Mapping, Named)):
            raise fault(f"expected a name or a mapping with a name, got {shown(value)}")
        return cls.spelt_out(value)


class PassSpec(Named):
    """A pass of your own: a subclass of `ppema.passes.target.Pass`, which changes the train program."""

    model_config = examples({"name": "my_passes.Centralize", "args": {}, "after": "backward"})

    after: Literal["forward", "backward", "optimize", "averages"] = Field(
        default="backward",
        description="Part of the training step that it follows. After optimize and averages it has no effect in skipped steps.",
    )


class Optimizer(Named):
    """The optimizer: a class of paddle.optimizer, or one of your own."""

    model_config = examples(
        "Adam",
        {"name": "Momentum", "args": {"momentum": 0.9}, "weight_decay": 1e-4, "no_decay": ["bias", "norm"], "clip_norm": 1.0},
        {"name": "SGD", "clip_each_norm": 1.0},
        {"name": "SGD", "clip_value": 0.1},
    )

    weight_decay: Annotated[NotNegative, InFloat32] | None = Field(
        default=None, description="L2 coefficient, or decoupled decay where the optimizer has it. null: none."
    )
    clip_norm: Annotated[Positive, InFloat32] | None = Field(
        default=None, description="Largest global norm of the gradients. Larger gradients are scaled down. null: no limit."
    )

    clip_each_norm: Annotated[Positive, InFloat32] | None = Field(
        default=None, description="Largest norm of each variable's gradient. Larger gradients are scaled down. null: no limit."
    )
    clip_value: Annotated[Positive, InFloat32] | None = Field(
        default=None, description="Largest absolute value of a gradient's numbers. null: no limit."
    )
    no_decay: tuple[Literal["bias", "norm"], ...] = Field(
        default=(), description="Kinds of variables without weight decay: biases, and the weights of normalisation layers."
    )

    @property
    def clips(self) -> list[str]:
        """The keys that limit gradients."""
        return [key for key in ("clip_norm", "clip_each_norm", "clip_value") if getattr(self, key) is not None]

    @model_validator(mode="after")
    def _one_clip(self) -> Optimizer:
        if len(self.clips) > 1:
            raise faults([((self.clips[1],), f"requires that {self.clips[0]} is not given: choose one")])
        return self

    @model_validator(mode="after")
    def _numbers_are_float32(self) -> Optimizer:
        found = [(("args", key), message) for key, value in self.args.items() if (message := _rounded_away(value))]
        if found:
            raise faults(found)
        return self


def _rounded_away(value: Any) -> str | None:
    """The message for an argument of a Paddle optimizer that float32 can not hold; None for a valid one.

    Paddle's optimizers take numbers as float32.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if 0.5 < value < 1 and np.float32(value) == 1:
        return f"expected a number that float32 does not round to 1, got {shown(value)}"
    return not_in_float32(value)


class LearningRate(Named):
    """The learning rate over time. A number alone is a constant rate."""

    model_config = examples(
        0.1,
        {"name": "CosineAnnealingDecay", "args": {"learning_rate": 0.1, "T_max": "100 %"}, "warmup": "100 steps"},
    )

    warmup: Duration | None = Field(
        default=None,
        description="First part of the run, in which the rate rises linearly from 0 to the schedule. null: no warm-up.",
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
        if isinstance(value, (int, float)) and (message := not_in_float32(value)):
            raise fault(message)
        if isinstance(value, bool) or not isinstance(value, (str, int, float, Mapping, LearningRate)):
            raise fault(f"expected a number > 0 or a mapping with a name, got {shown(value)}")
        if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9.]+(e[+-]?[0-9]+)?", value.strip(), re.IGNORECASE):
            raise fault(f"expected a number > 0 or a name, got the text {shown(value)}: write the number without quotes")
        return cls.spelt_out(value)
