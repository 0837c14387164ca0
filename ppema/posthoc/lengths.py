"""The lengths of averages, as a user gives them: widths relative to the run (σ_rel), or half-lives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ppema.averaging.power import WIDEST, gamma_of
from ppema.averaging.profiles import ExponentialShape, PowerShape, Shape
from ppema.config import Duration
from ppema.config.horizon import Horizon
from ppema.errors import ConfigError, Naming, PpemaError

Kind = Literal["sigma_rel", "half_life"]
# Where a search looks unless told otherwise: the half-lives have about the widths of those σ_rel.
BETWEEN: dict[Kind, str] = {"sigma_rel": "0.02,0.25", "half_life": "1 %,20 %"}


@dataclass(frozen=True)
class Length:
    """value: σ_rel, or a half-life in steps; text: as the user has it, "0.05" or "2 epochs"."""

    kind: Kind
    value: float
    text: str

    def __str__(self) -> str:
        return f"{self.kind} {self.text}"

    @property
    def shape(self) -> Shape:
        """The profile's."""
        return PowerShape(gamma_of(self.value)) if self.kind == "sigma_rel" else ExponentialShape(self.value)


def length(kind: Kind, value: float) -> Length:
    """The length of `value`, rounded to four digits so that its text says it all."""
    if kind == "sigma_rel":
        value = min(value, WIDEST)
    text = f"{value:.4g}" if value < 1e4 else f"{value:.0f}"
    return Length(kind, float(text), text if kind == "sigma_rel" else f"{text} steps")


def parse(kind: Kind, argument: str, text: str, horizon: Horizon) -> list[Length]:
    """The lengths that `text`, the value of `argument`, lists with commas between them, in ascending order, each once.

    Raises PpemaError for what is none.
    """
    found = []
    for word in (part.strip() for part in text.split(",")):
        try:
            found.append(Length(kind, _value(kind, word, horizon), word))
        except ValueError as error:
            raise PpemaError(Naming(f"{{{argument}}}: {{}}", str(error).removeprefix(f"{argument}: "))) from error
    return sorted({each.value: each for each in found}.values(), key=lambda each: each.value)


def _value(kind: Kind, word: str, horizon: Horizon) -> float:
    """Raises ValueError for what is no length."""
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
