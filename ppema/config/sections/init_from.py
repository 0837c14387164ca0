"""The config section of initial weights that replace random ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema, model_validator

from ppema.config.section import Section, Text, examples
from ppema.config.wording import fault, faults, key_fault
from ppema.values import shown

Mismatch = Literal["missing", "unexpected", "misshaped"]
MISMATCHES: tuple[Mismatch, ...] = get_args(Mismatch)
SAFETENSORS, PDPARAMS = ".safetensors", ".pdparams"  # suffixes of files of weights


def _pattern_fault(pattern: str) -> str | None:
    """The message for a `pattern` that is no regular expression; None if it is one."""
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return f"{shown(pattern)} is not a regular expression: {error}"
    return None


def _rename_fault(pattern: object, replacement: object) -> str | None:
    """The message for a `replacement` that `re.sub` can not use with `pattern`; None if it can."""
    if message := key_fault(pattern):
        return message
    if not isinstance(pattern, str) or not isinstance(replacement, str):
        return f"expected a string, got {shown(replacement)}"
    if message := _pattern_fault(pattern):
        return message
    try:
        re.sub(pattern, replacement, "")  # Python parses the replacement even without a match.
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
    """Initial weights of a new run, taken by name from a checkpoint or from a file of weights."""

    model_config = examples(
        {"path": "runs/pretrained", "weights": "ema"},
        {"path": "resnet18.pdparams", "exclude": [r"^fc\."]},
        {"path": "other.safetensors", "rename": {r"^backbone\.": "body."}, "include": [r"^body\."], "strict": ["misshaped"]},
    )

    path: Text = Field(
        description="A checkpoint, the output folder of a run (its last checkpoint), or a file `*.safetensors` or `*.pdparams`."
    )
    weights: Text = Field(default="raw", description="Weights of a checkpoint to load: raw, or the name of an average.")
    rename: Renames = Field(
        default={},
        description="Regular expressions and their replacements (re.sub), applied in order to the names in the source.",
    )
    include: tuple[Pattern, ...] = Field(
        default=(),
        description="Regular expressions on names of variables or places in the model. Only matching variables are loaded.",
    )
    exclude: tuple[Pattern, ...] = Field(
        default=(), description="Regular expressions. Matching variables keep their random initial values."
    )
    strict: tuple[Mismatch, ...] = Field(
        default=MISMATCHES,
        description="Mismatches that are errors. missing: a variable without an array; unexpected: an array without a "
        "variable; misshaped: a pair of different shapes or incompatible types. []: none.",
    )

    @property
    def is_file(self) -> bool:
        """Whether `path` names a file of weights; otherwise it names a checkpoint."""
        return self.path.endswith((SAFETENSORS, PDPARAMS))

    @model_validator(mode="after")
    def _weights_require_a_checkpoint(self) -> InitFrom:
        if self.is_file and self.weights != "raw":
            raise faults([(("weights",), f"requires a checkpoint: {shown(self.path)} holds one set of weights")])
        return self
