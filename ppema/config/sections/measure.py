"""Sections of what is computed from a model's outputs and the data's targets: losses, their parts, and metrics."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, Field, Strict, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from ppema.config.section import InFloat32, Positive, Text, examples
from ppema.config.sections.named import Named
from ppema.config.wording import expecting, faults, in_our_words
from ppema.errors import Path

PART_NAME = "[A-Za-z][A-Za-z0-9_-]*"
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

    called: Annotated[str, Strict(), Field(pattern=f"^{PART_NAME}$"), expecting(_METRIC_NAME)] | None = Field(
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


def _check_names(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    # Names and sections are checked together, so that one report has the faults of both.
    found: list[tuple[Path, str]] = [
        ((name,), "expected a name made of letters, digits, '_' and '-' that starts with a letter")
        for name in (value if isinstance(value, Mapping) else ())
        if not re.fullmatch(PART_NAME, str(name))
    ]
    parts = None
    try:
        parts = handler(value)
    except ValidationError as error:
        found += in_our_words(error, LossPart)
    if found:
        raise faults(found)
    return parts


LossParts = Annotated[
    dict[str, LossPart],
    WrapValidator(_check_names),
    Field(json_schema_extra={"propertyNames": {"pattern": f"^({PART_NAME}|_replace_)$"}}),
]
