"""Parses the lengths of averages: widths relative to the run (σ_rel), or half-lives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ppema.averaging.power import WIDEST, gamma_of
from ppema.averaging.profiles import ExponentialShape, PowerShape, Shape
from ppema.config import Duration
from ppema.config.horizon import Horizon
from ppema.errors import ConfigError, Naming, PpemaError

Kind = Literal["sigma_rel", "half_life"]
# The default range of a search. These half-lives have about the same widths as these σ_rel.
BETWEEN: dict[Kind, str] = {"sigma_rel": "0.02,0.25", "half_life": "1 %,20 %"}


@dataclass(frozen=True)
class Length:
    """The length of an average. value: σ_rel, or a half-life in steps; text: as the user wrote it, "0.05" or "2 epochs"."""

    kind: Kind
    value: float
    text: str

    def __str__(self) -> str:
        return f"{self.kind} {self.text}"

    @property
    def shape(self) -> Shape:
        """The shape of the profile."""
        return PowerShape(gamma_of(self.value)) if self.kind == "sigma_rel" else ExponentialShape(self.value)


def length(kind: Kind, value: float) -> Length:
    """The length of `value`, rounded to four digits so that text and value agree."""
    if kind == "sigma_rel":
        value = min(value, WIDEST)
    text = f"{value:.4g}" if value < 1e4 else f"{value:.0f}"
    return Length(kind, float(text), text if kind == "sigma_rel" else f"{text} steps")


def parse(kind: Kind, argument: str, text: str, horizon: Horizon) -> list[Length]:
    """The lengths in `text`, which are separated by commas: in ascending order, each once.

    argument: the name of the argument whose value is `text`; horizon: converts durations to steps. Raises PpemaError for text
    that is no length.
    """
    found = []
    for word in (part.strip() for part in text.split(",")):
        try:
            found.append(Length(kind, _value(kind, word, horizon), word))
        except ValueError as error:
            raise PpemaError(Naming(f"{{{argument}}}: {{}}", str(error).removeprefix(f"{argument}: "))) from error
    return sorted({each.value: each for each in found}.values(), key=lambda each: each.value)


def _value(kind: Kind, word: str, horizon: Horizon) -> float:
    """σ_rel, or the half-life in steps. Raises ValueError for a word that is no length."""
    if kind == "half_life":
        try:
            steps = horizon.exact_steps(Duration.parse(word))
            if steps < 1e-3:
                raise ValueError(f"expected a half-life of a thousandth of a step or more, got {word!r}")
            return steps
        except ConfigError as error:
            raise ValueError(str(error)) from error
    try:
        value = float(word)
    except ValueError:
        raise ValueError(f"sigma_rel: expected a number such as 0.05, got {word!r}") from None
    gamma_of(value)
    return value
