"""Finds what `board.pictures` shows: the pictures of a sample, and the output and target of a loss that decides on classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ppema.averaging.precision import widened
from ppema.config import Config
from ppema.data import Field
from ppema.errors import ConfigError
from ppema.ir import is_variable
from ppema.losses import Scores, form, has_classes
from ppema.programs.model.forward import Forward
from ppema.programs.model.outputs import operands

NO_CLASS = -1
_CHANNELS = (1, 3)
_INSTEAD = "set board.pictures to 0"


@dataclass(frozen=True)
class Pictured:
    """Where pictures, true classes and predictions are.

    picture, target: positions among the fields of a sample; channels: the axis of a picture with its channels, 0 or 2.
    output: a name. axis: the axis of the classes in the output, from its end; classes: their number. ignored: the label that
    the loss leaves out, None for none. The output is [N, C], or [N, C, H, W] or [N, H, W, C] with a class for each pixel.
    """

    picture: int
    channels: int
    target: int
    output: str
    axis: int
    classes: int
    ignored: int | None = None

    def predicted(self, output: np.ndarray) -> np.ndarray:
        """The class with the largest number: int64 [n] or [n, H, W]. NO_CLASS where a number is not finite."""
        numbers = widened(output)
        return np.where(np.isfinite(numbers).all(axis=self.axis), numbers.argmax(axis=self.axis), NO_CLASS)

    def true(self, target: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """The true classes, int64 of the shape of `predicted`. NO_CLASS for a label that is none, or ignored.

        target: labels int64, or numbers for each class float32, of which the largest has the class.
        """
        labels = target if target.dtype.kind == "i" else target.argmax(axis=self.axis)
        labels = labels.reshape(predicted.shape)
        return np.where((labels >= 0) & (labels < self.classes) & (labels != self.ignored), labels, NO_CLASS)


def pictured(config: Config, fields: Sequence[Field], made: Forward, told: Mapping[str, Scores]) -> Pictured:
    """What `board.pictures` shows of a model. Raises ConfigError if there are no pictures or no classes.

    fields: of a sample; told: what the numbers of each output are.
    """
    with config.at("board"):
        picture = next(position for position, field in enumerate(fields) if not field.is_target)
        channels = _channels_axis(fields[picture])
        for name, spec in config.loss_parts.items():
            predictions, target = operands(spec, made.outputs, made.targets, name)
            output = next((each for each in told if made.outputs[each] is predictions), None)
            if output is None or not is_variable(target) or (axis := told[output].axis) is None:
                continue
            rank, position = len(predictions.shape), _position(fields, made, target)
            if (rank, axis) not in ((2, -1), (4, -3), (4, -1)):
                raise ConfigError.of(
                    f"expected classes of a picture or of its pixels, and {output} is {form(predictions)}: {_INSTEAD}",
                    "pictures",
                )
            if not has_classes(target) and len(target.shape) != rank:
                raise ConfigError.of(f"the target {form(target)} has no axis of classes: {_INSTEAD}", "pictures")
            ignored = spec.args.get("ignore_index")
            return Pictured(picture, channels, position, output, axis, predictions.shape[axis], ignored)
        losses = ", ".join(spec.name for spec in config.loss_parts.values())
        raise ConfigError.of(
            f"the loss {losses} does not decide between classes, which pictures would show: {_INSTEAD}", "pictures"
        )


def _channels_axis(field: Field) -> int:
    for axis in (0, 2):
        if len(field.shape) == 3 and field.shape[axis] in _CHANNELS:
            return axis
    raise ConfigError.of(
        f"expected pictures [C, H, W] or [H, W, C] with 1 or 3 channels as the first input, and {field.name} is {field}: "
        f"{_INSTEAD}",
        "pictures",
    )


def _position(fields: Sequence[Field], made: Forward, target: object) -> int:
    name = next(name for name, value in made.targets.items() if value is target)
    return next(position for position, field in enumerate(fields) if field.name == name)
