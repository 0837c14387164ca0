"""The section `data`: the data sets, and what holds for all of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    Field,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    field_validator,
    model_validator,
)

from ppema.averaging.decay import MOST_STEPS
from ppema.config.section import Count, Section, examples
from ppema.config.sections.data_sets import DataSpec, Workers, chosen
from ppema.config.sections.named import Named
from ppema.config.sections.normalize import Normalize
from ppema.config.sections.split import Split
from ppema.config.sections.transform_spec import TransformSpec
from ppema.config.wording import expecting, fault, faults
from ppema.errors import Path
from ppema.user_code.names import did_you_mean
from ppema.values import shown

_NAME = "[A-Za-z_][A-Za-z0-9_]*"


def _check_names(value: Any, _: ValidatorFunctionWrapHandler) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or not value:
        raise fault(f"expected a list of names, got {shown(value)}")
    found: list[tuple[Path, str]] = []
    for index, name in enumerate(value):
        if not isinstance(name, str) or not re.fullmatch(_NAME, name):
            found.append(((index,), f"expected a name of letters, digits and '_', with no digit first, got {shown(name)}"))
        elif name in value[:index]:
            found.append(((index,), f"{name!r} is listed twice"))
    if found:
        raise faults(found)
    return tuple(value)


def _check_targets(value: Any) -> Any:
    if value in ([], ()):
        raise fault(
            "expected at least one name, got []: for a loss on an input itself, return it twice, as (image, image), and name "
            "both: inputs: [image], targets: [copy]"
        )
    return value


def _check_classes(value: Any, _: ValidatorFunctionWrapHandler) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or not value:
        raise fault(f"expected a list of names, one for each class, got {shown(value)}")
    found: list[tuple[Path, str]] = []
    first = dict[str, int]()
    for index, name in enumerate(value):
        if not isinstance(name, str) or not name or not name.isprintable():
            hint = "; put it in quotes" if isinstance(name, (bool, int, float)) else ""
            found.append(((index,), f"expected the name of a class, got {shown(name)}{hint}"))
        elif first.setdefault(name, index) != index:
            found.append(((index,), f"{name!r} is listed twice"))
    if found:
        raise faults(found)
    return tuple(value)


def _dimension(value: Any) -> int:
    if type(value) is not int or not (value == -1 or 1 <= value <= MOST_STEPS):
        raise ValueError
    return value


NamesOfFields = Annotated[
    tuple[str, ...] | None,
    WrapValidator(_check_names),
    WithJsonSchema(
        {"anyOf": [{"type": "array", "items": {"type": "string", "pattern": f"^{_NAME}$"}, "minItems": 1}, {"type": "null"}]}
    ),
]


Dimension = Annotated[
    int,
    BeforeValidator(_dimension),
    WithJsonSchema({"type": "integer", "minimum": -1, "maximum": MOST_STEPS, "not": {"const": 0}}),
]
NamesOfClasses = Annotated[
    tuple[str, ...] | None,
    WrapValidator(_check_classes),
    WithJsonSchema(
        {"anyOf": [{"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1}, {"type": "null"}]}
    ),
]
DeclaredShape = Annotated[tuple[Dimension, ...], expecting("a list of integers >= 1, or -1 where batches differ")]


class KeptPart(Section):
    """How evaluations read the samples that `data.split` keeps."""

    model_config = examples({"batch_size": 256, "workers": 2, "transforms": [{"name": "Resize", "args": {"size": 32}}]})

    batch_size: Count | None = Field(default=None, description="Samples in a batch. null: that of `data.train`.")
    workers: Workers | None = Field(default=None, description="Processes that load samples. null: those of `data.train`.")
    transforms: tuple[TransformSpec, ...] = Field(
        default=(), description="Changes of samples, in this order. Those of `data.train` do not apply."
    )


class Data(Section):
    """The data sets of training and of evaluation, and the names of their fields."""

    model_config = examples(
        {
            "train": {"name": "digits", "split": "train", "batch_size": 32, "shuffle": True},
            "eval": {"name": "digits", "split": "test", "batch_size": 256},
        },
        {
            "train": {"name": "mydata.Reviews", "args": {"split": "train"}, "batch_size": 32, "shuffle": True},
            "eval": {"name": "mydata.Reviews", "args": {"split": "test"}, "batch_size": 256},
            "inputs": ["tokens", "mask"],
            "targets": ["label"],
            "shapes": {"tokens": [-1], "mask": [-1]},
            "collate": {"name": "pad", "args": {"values": {"tokens": 1}}},
        },
        {
            "train": {"name": "digits", "split": "train", "batch_size": 32, "shuffle": True},
            "split": {"fraction": 0.1},
            "normalize": True,
            "classes": ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
        },
    )

    train: DataSpec = Field(description="Training samples.")
    split: Split | None = Field(
        default=None, description="Keeps a part of the training samples for evaluation, in place of the data set `eval`."
    )
    eval: DataSpec | KeptPart | None = Field(
        default=None,
        validate_default=True,
        description="Samples for the loss and metrics of evaluations. Required without `split`. With it, the section has no "
        "name, and may be left out.",
    )
    normalize: Normalize = Field(
        default=False,
        description="Shift and scale inputs to mean 0 and deviation 1 over the training samples. true: every float32 input; a "
        "list: these inputs. The numbers are measured once, and kept with the run. A mapping gives them.",
    )
    classes: NamesOfClasses = Field(
        default=None,
        description="Names of the classes, by label. null: those that the data set knows: the folders of an image_folder, the "
        "digits, or an attribute `classes` of your own data set. They are kept with the run.",
    )
    inputs: NamesOfFields = Field(
        default=None, description="Names of the model's inputs. null: every field of a sample but the last is an input."
    )
    targets: Annotated[NamesOfFields, BeforeValidator(_check_targets)] = Field(
        default=None, description="Names of the targets, for losses and metrics. null: the last field of a sample."
    )
    shapes: dict[str, DeclaredShape] = Field(
        default={},
        description="Shapes of fields by name, without the batch axis. -1: a dimension that differs from batch to batch.",
    )
    collate: Named | None = Field(
        default=None,
        description="Makes a batch of a list of samples: pad, or the dotted path of your own. null: the samples are stacked.",
    )

    @field_validator("eval", mode="wrap")
    @classmethod
    def _of_the_split(cls, value: Any, _: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        # A split with a fault is absent from `info.data`. It is a split nevertheless.
        split = info.data.get("split", Split) is not None
        if isinstance(value, Mapping) and split and "name" in value:
            raise fault(
                "data.split takes the samples of evaluations from data.train: set it to null, or give it only "
                f"{', '.join(KeptPart.model_fields)}"
            )
        if split:
            return value if value is None else KeptPart.model_validate(value)
        if value is None:
            raise fault("required key is missing")
        return chosen(value)

    @model_validator(mode="before")
    @classmethod
    def _name_arrays(cls, value: Any) -> Any:
        """Arrays of an .npz file have the names of fields, unless its section names others."""
        if not isinstance(value, Mapping) or not (value.get("inputs") and value.get("targets")):
            return value
        named = {"inputs": value["inputs"], "target": value["targets"]}
        of_npz = {
            key: {**named, **value[key]}
            for key in ("train", "eval")
            if isinstance(value.get(key), Mapping) and value[key].get("name") == "npz"
        }
        return {**value, **of_npz}

    @model_validator(mode="after")
    def _check_fields(self) -> Data:
        if (self.inputs is None) != (self.targets is None):
            given, lacking = ("inputs", "targets") if self.targets is None else ("targets", "inputs")
            raise faults([((given,), f"requires {lacking}: name all fields, or none")])
        for index, name in enumerate(self.targets or ()):
            if name in (self.inputs or ()):
                raise faults([(("targets", index), f"{name!r} is an input already: give the target another name")])
        names = (*(self.inputs or ()), *(self.targets or ()))
        unknown = [name for name in self.shapes if names and name not in names]
        if unknown:
            hint = did_you_mean(unknown[0], names) or f"; known: {', '.join(names)}"
            raise faults([(("shapes", unknown[0]), f"there is no field {unknown[0]!r}{hint}")])
        return self
