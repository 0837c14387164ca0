"""Sections of what is computed from a model's outputs and the data's targets: losses, their parts, and metrics."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field, Strict, ValidatorFunctionWrapHandler, WrapValidator

from ppema.config.section import NAME, InFloat32, Positive, Text, by_name, examples
from ppema.config.sections.named import Named
from ppema.config.wording import expecting

_METRIC_NAME = "a name made of letters, digits, '_' and '-' that starts with a letter"
Chosen = Annotated[Text | tuple[Text, ...], expecting("a name, or a list of names")]


class Measure(Named):
    """A loss or metric: a function of an output of the model and a target of the data."""

    model_config = examples(
        "cross_entropy",
        {"name": "cross_entropy", "args": {"label_smoothing": 0.1}},
        {"name": "mse", "output": "depth", "target": "distance"},
        {"name": "my_losses.contrast", "output": ["left", "right"]},
    )

    output: Chosen | None = Field(
        default=None,
        description="The model's output to measure. A list of names: the function gets a mapping of them. null: the only one.",
    )
    target: Chosen | None = Field(
        default=None,
        description="The data's target to compare with. A list of names: the function gets a mapping. null: the only one.",
    )


class MetricSpec(Measure):
    """A metric of evaluations: one of ppema's, a function that returns one value per sample, or a ppema.metrics.Metric."""

    # `as` is a keyword of Python, so that the attribute has another name.
    model_config = examples(
        "accuracy",
        {"name": "f1", "args": {"average": "none"}, "as": "f1_of_each"},
        {"name": "iou", "output": "mask", "target": "mask"},
    ) | ConfigDict(serialize_by_alias=True)

    called: Annotated[str, Strict(), Field(pattern=f"^{NAME}$"), expecting(_METRIC_NAME)] | None = Field(
        default=None,
        alias="as",
        description="Name of its figures, so that a metric can occur twice. null: the last part of `name`.",
    )

    @property
    def figure(self) -> str:
        """The name of its figures."""
        return self.called or self.name.rpartition(".")[2]


class LossPart(Measure):
    """One part of a weighted sum of losses. Without `output` and `target`, it takes those of its own name, or the only ones."""

    model_config = examples(
        "cross_entropy",
        {"name": "cross_entropy", "args": {"label_smoothing": 0.1}, "weight": 0.4, "output": "aux", "target": "label"},
    )

    weight: Annotated[Positive, InFloat32] = Field(default=1.0, description="Factor of this part in the sum.")


def _check_parts(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    return by_name(value, handler, LossPart, {})


LossParts = Annotated[
    dict[str, LossPart],
    WrapValidator(_check_parts),
    Field(json_schema_extra={"propertyNames": {"pattern": f"^({NAME}|_replace_)$"}}),
]
