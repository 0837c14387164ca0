"""The values of `data.normalize`: which inputs are normalised, and by which numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, Strict, ValidationError, ValidatorFunctionWrapHandler, WrapValidator, model_validator

from ppema.config.section import InFloat32, Positive, Section, examples
from ppema.config.wording import expecting, fault, faults, in_our_words
from ppema.errors import Path
from ppema.values import shown

Number = Annotated[Annotated[float, Strict(), Field(allow_inf_nan=False), InFloat32], expecting("a number that float32 holds")]
Deviation = Annotated[Annotated[Positive, InFloat32], expecting("a number > 0 that float32 holds")]


class Normalization(Section):
    """The numbers of one input: (x - mean) / std. Each has one number for each channel or feature, or one for all."""

    model_config = examples({"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]})

    mean: tuple[Number, ...] = Field(description="Means.")
    std: tuple[Deviation, ...] = Field(description="Standard deviations.")

    @model_validator(mode="after")
    def _as_many(self) -> Normalization:
        if not self.mean:
            raise faults([(("mean",), "expected at least one item, got []")])
        if len(self.mean) != len(self.std):
            raise faults([(("std",), f"expected as many numbers as in mean, {len(self.mean)}, got {len(self.std)}")])
        return self


def _check(value: Any, _: ValidatorFunctionWrapHandler) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, (list, tuple)) and value:
        return _names(value)
    if isinstance(value, Mapping) and value:
        return _numbers(value)
    raise fault(f"expected true, false, a list of inputs, or a mapping of inputs to mean and std, got {shown(value)}")


def _names(value: list[Any] | tuple[Any, ...]) -> tuple[str, ...]:
    found: list[tuple[Path, str]] = []
    for index, name in enumerate(value):
        if not isinstance(name, str) or not name:
            found.append(((index,), f"expected the name of an input, got {shown(name)}"))
        elif name in value[:index]:
            found.append(((index,), f"{name!r} is listed twice"))
    if found:
        raise faults(found)
    return tuple(value)


def _numbers(value: Mapping[Any, Any]) -> dict[str, Normalization]:
    made, found = {}, list[tuple[Path, str]]()
    for name, numbers in value.items():
        try:
            made[name] = Normalization.model_validate(numbers)
        except ValidationError as error:
            found += [((str(name), *path), message) for path, message in in_our_words(error, Normalization)]
    if found:
        raise faults(found)
    return made


def numbers_of(value: Any) -> dict[str, Normalization] | None:
    """The numbers of a `data.normalize`, as a config or JSON has it; None if it has none. Raises ValueError for others."""
    return {name: Normalization.model_validate(each) for name, each in value.items()} if isinstance(value, Mapping) else None


Normalize = Annotated[bool | tuple[str, ...] | dict[str, Normalization], WrapValidator(_check)]
