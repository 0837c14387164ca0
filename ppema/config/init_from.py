"""What a config may say of weights that a run begins with in place of random ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema, model_validator

from ppema.config.section import Section, Text
from ppema.config.wording import fault, faults, key_fault, shown

Kind = Literal["missing", "unexpected", "misshaped"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SAFETENSORS, PDPARAMS = ".safetensors", ".pdparams"  # how the names of files of weights end


def _pattern_fault(pattern: str) -> str | None:
    """Why `pattern` is no regular expression, if it is none."""
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return f"{shown(pattern)} is not a regular expression: {error}"
    return None


def _rename_fault(pattern: object, replacement: object) -> str | None:
    """Why `replacement` can not stand for what `pattern` matches, if it can not."""
    if message := key_fault(pattern):
        return message
    if not isinstance(pattern, str) or not isinstance(replacement, str):
        return f"expected a string, got {shown(replacement)}"
    if message := _pattern_fault(pattern):
        return message
    try:
        re.sub(pattern, replacement, "")  # Python looks at the replacement before it finds a match.
    except (re.error, IndexError) as error:
        return f"{shown(replacement)} does not fit this expression: {error}"
    return None


def _renames(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise fault(f"expected a mapping, got {shown(value)}")
    faulty = {pattern: _rename_fault(pattern, replacement) for pattern, replacement in value.items()}
    if any(faulty.values()):
        raise faults(((str(pattern),), message) for pattern, message in faulty.items() if message)
    return dict(value)


def _pattern(value: str) -> str:
    if message := _pattern_fault(value):
        raise fault(message)
    return value


Pattern = Annotated[Text, AfterValidator(_pattern)]
Renames = Annotated[
    dict[str, str],
    PlainValidator(_renames),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": "string"}}),
]


class InitFrom(Section):
    """Weights that a new run begins with, taken by name from a checkpoint or from another program's file."""

    path: Text = Field(
        description="A checkpoint, a run's output folder (its last checkpoint), or a file *.safetensors or *.pdparams."
    )
    weights: Text = Field(default="raw", description="Which of a checkpoint's weights: raw, or an average's name.")
    rename: Renames = Field(
        default={},
        description="Regular expressions and what replaces each of their matches (re.sub), in order, in the names that the "
        "source has.",
    )
    include: tuple[Pattern, ...] = Field(
        default=(), description="Regular expressions on names or places in the model; only what one matches is loaded."
    )
    exclude: tuple[Pattern, ...] = Field(
        default=(), description="Regular expressions; what one matches keeps its random initial value."
    )
    strict: tuple[Kind, ...] = Field(
        default=KINDS,
        description="What is an error: variables that are missing in the source, its unexpected arrays, and pairs that are "
        "misshaped or of types that do not go together; []: nothing.",
    )

    @property
    def is_file(self) -> bool:
        """Whether `path` is a file of weights, and not a checkpoint."""
        return self.path.endswith((SAFETENSORS, PDPARAMS))

    @model_validator(mode="after")
    def _weights_go_with_checkpoints(self) -> InitFrom:
        if self.is_file and self.weights != "raw":
            raise faults([(("weights",), f"goes with a checkpoint alone: {shown(self.path)} holds one set of weights")])
        return self
