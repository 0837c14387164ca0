"""The config section of initial weights that replace random ones."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema, model_validator

from ppema.config.section import Section, Text, examples
from ppema.config.wording import fault, faults, key_fault
from ppema.values import shown

Mismatch = Literal["missing", "unexpected", "misshaped"]
MISMATCHES: tuple[Mismatch, ...] = get_args(Mismatch)
_MOST_DIMENSIONS = 9  # of a tensor of Paddle
_MATRIX = (1, 0)  # the axes of a transposed matrix
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


def _axes_fault(pattern: object, axes: object) -> str | None:
    """The message for `axes` that are no permutation of at least two, or for `pattern`; None if both are valid."""
    if not isinstance(pattern, str) or not pattern.isprintable() or not pattern:
        return f"expected a regular expression, got {shown(pattern)}"
    if message := _pattern_fault(pattern):
        return message
    if isinstance(axes, (list, tuple)) and 2 <= len(axes) <= _MOST_DIMENSIONS and _permuted(axes):
        return None
    return f"expected the source's axes in the model's order, such as [1, 0] or [3, 2, 0, 1], got {shown(axes)}"


def _permuted(axes: Sequence[Any]) -> bool:
    return all(type(axis) is int for axis in axes) and sorted(axes) == list(range(len(axes)))


def _transposes(value: Any) -> dict[str, tuple[int, ...]]:
    """A list of patterns is short for a mapping of each to the axes of a transposed matrix."""
    if isinstance(value, (list, tuple)):
        table = [((index,), pattern, _MATRIX) for index, pattern in enumerate(value)]
    elif isinstance(value, Mapping):
        table = [((str(pattern),), pattern, axes) for pattern, axes in value.items()]
    else:
        raise fault(f"expected a list or a mapping, got {shown(value)}")
    if problems := [(path, message) for path, pattern, axes in table if (message := _axes_fault(pattern, axes))]:
        raise faults(problems)
    return {pattern: tuple(axes) for _, pattern, axes in table}


Pattern = Annotated[Text, AfterValidator(_pattern)]
Renames = Annotated[
    dict[str, str],
    PlainValidator(_renames),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": "string"}}),
]
_AXES = {
    "type": "array",
    "items": {"type": "integer", "minimum": 0, "maximum": _MOST_DIMENSIONS - 1},
    "minItems": 2,
    "maxItems": _MOST_DIMENSIONS,
}
Transposes = Annotated[
    dict[str, tuple[int, ...]],
    BeforeValidator(_transposes),
    WithJsonSchema(
        {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "object", "additionalProperties": _AXES}]}
    ),
]


class InitFrom(Section):
    """Initial weights of a new run, taken by name from a checkpoint or from a file of weights."""

    model_config = examples(
        {"path": "runs/pretrained", "weights": "ema"},
        {"path": "resnet18.pdparams", "exclude": [r"^fc\."]},
        {"path": "other.safetensors", "rename": {r"^backbone\.": "body."}, "include": [r"^body\."], "strict": ["misshaped"]},
        {"path": "torch.safetensors", "transpose": [r"^fc\.weight$"], "ignore": [r"\.num_batches_tracked$"]},
        {"path": "keras.safetensors", "rename": {"/": ".", "kernel$": "weight"}, "transpose": {"kernel$": [3, 2, 0, 1]}},
    )

    path: Text = Field(
        description="A checkpoint, the output folder of a run (its last checkpoint), or a file `*.safetensors` or `*.pdparams`."
    )
    weights: Text = Field(default="raw", description="Weights of a checkpoint to load: raw, or the name of an average.")
    rename: Renames = Field(
        default={},
        description="Regular expressions and their replacements (re.sub), applied in order to the names in the source.",
    )
    transpose: Transposes = Field(
        default={},
        description="Regular expressions on names in the source, before `rename`, and the source's axes in the model's order. "
        "Each applies to matching arrays of as many dimensions; the first one counts. A list transposes matrices, [1, 0].",
    )
    ignore: tuple[Pattern, ...] = Field(
        default=(),
        description="Regular expressions on names in the source, before `rename`. Matching arrays are not loaded, and are not "
        "`unexpected`.",
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
