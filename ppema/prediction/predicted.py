"""What a model predicts: its outputs, and what is known of their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ppema.losses import Scores


@dataclass(frozen=True)
class OutputForm:
    """What the numbers of the output `name` are.

    scores: how they become probabilities; None for plain numbers, or if nothing is known. classes: the names of the classes
    along its axis, if they are known.
    """

    name: str
    scores: Scores | None = None
    classes: tuple[str, ...] | None = None

    @property
    def axis(self) -> int | None:
        """The axis of the classes, counted from the end; None for an output without classes."""
        return None if self.scores is None else self.scores.axis

    def class_name(self, label: int) -> str:
        """The name of class `label`; its number without names."""
        return str(label) if self.classes is None else self.classes[label]


def probabilities(values: np.ndarray, scores: Scores) -> np.ndarray:
    """The probabilities of `values`, what the model returns, float32 of their shape: `Scores.probabilities` in numpy."""
    values = values.astype(np.float32, copy=False)
    match scores.by:
        case "softmax":
            axis = -1 if scores.axis is None else scores.axis
            powers = np.exp(values - values.max(axis=axis, keepdims=True))
            return powers / powers.sum(axis=axis, keepdims=True)
        case "sigmoid":
            powers = np.exp(-np.abs(values))  # at most 1, so that it does not overflow
            return np.where(values >= 0, 1 / (1 + powers), powers / (1 + powers))
        case "exp":
            return np.exp(values)
        case "none":
            return values


@dataclass(frozen=True)
class PredictedBatch:
    """The predictions of n samples. names: of the samples. outputs: what the model returns, by name, [n, ...].

    forms: of the outputs, by name. failed: name and reason of the samples that were left out before. doubt: why its inputs may
    be in another unit than those of training, or ""; more: whether the next batch belongs to the same turn of a rank.
    """

    names: tuple[str, ...]
    outputs: dict[str, np.ndarray]
    forms: Sequence[OutputForm]
    failed: tuple[tuple[str, str], ...] = ()
    doubt: str = ""
    more: bool = False

    @cached_property
    def probabilities(self) -> dict[str, np.ndarray]:
        """The probabilities, float32 [n, ...], of each output whose numbers become such."""
        return {
            form.name: probabilities(self.outputs[form.name], form.scores) for form in self.forms if form.scores is not None
        }

    @cached_property
    def labels(self) -> dict[str, np.ndarray]:
        """The most probable class, int64, of each output of classes: [n], or [n, H, W] for a class of each pixel."""
        return {form.name: self.outputs[form.name].argmax(axis=form.axis) for form in self.forms if form.axis is not None}

    def samples(self) -> list[Predicted]:
        """Each sample."""
        return [
            Predicted(
                name,
                {key: each[row] for key, each in self.outputs.items()},
                {key: each[row] for key, each in self.probabilities.items()},
                {key: each[row] for key, each in self.labels.items()},
                tuple(self.forms),
            )
            for row, name in enumerate(self.names)
        ]


@dataclass(frozen=True)
class Predicted:
    """The prediction for one sample.

    name: of the sample, such as "photos/1.png" or "test.npz[3]". outputs: what the model returns, by name.
    probabilities: float32, of the outputs whose numbers become such. labels: the most probable class of each output of
    classes, int64: a number, or a map [H, W]. forms: of the outputs.
    """

    name: str
    outputs: dict[str, np.ndarray]
    probabilities: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    forms: tuple[OutputForm, ...]

    @property
    def label(self) -> int | None:
        """The class of the sample; None unless the model has exactly one output with one class for a sample."""
        form = self._classified
        return None if form is None else int(self.labels[form.name])

    @property
    def class_name(self) -> str | None:
        """The name of the class, or its number as text if it has no name; None without a `label`."""
        form, label = self._classified, self.label
        return None if form is None or label is None else form.class_name(label)

    @property
    def probability(self) -> float | None:
        """The probability of the class `label`; None without one."""
        form, label = self._classified, self.label
        return None if form is None or label is None else float(self.probabilities[form.name][label])

    @property
    def _classified(self) -> OutputForm | None:
        found = [form for form in self.forms if form.axis is not None and self.labels[form.name].ndim == 0]
        return found[0] if len(found) == 1 else None
