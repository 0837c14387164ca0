"""The section `data.split`: the part of the training samples that is kept for evaluation."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Strict, model_validator

from ppema.config.section import Count0, Flag, Section, Seed, examples
from ppema.config.wording import counting, expecting, faults

_MOST_FOLDS = 10**6  # More folds than samples are refused when the data is open.
_Folds = Annotated[int, Strict(), Field(ge=2, le=_MOST_FOLDS), counting("an integer", 2, _MOST_FOLDS)]
_Share = Annotated[float, Strict(), Field(gt=0, lt=1, allow_inf_nan=False), expecting("a number in (0, 1)")]


class Split(Section):
    """A part of the samples of `data.train`, kept for evaluation. Training uses the other samples."""

    model_config = examples(
        {"fraction": 0.1},
        {"fold": 0, "of": 5, "seed": 3, "stratify": False},
    )

    fraction: _Share | None = Field(default=None, description="Share of the samples that is kept. null: `fold` chooses them.")
    fold: Count0 | None = Field(default=None, description="Number of the fold that is kept, from 0.")
    of: _Folds | None = Field(default=None, description="Number of folds. They share no sample, and together hold all of them.")
    seed: Seed = Field(default=0, description="Seed of the drawing. The seed of the run does not change the split.")
    stratify: Flag = Field(
        default=True,
        description="Give each class the same share of both parts, if the samples have a class: an int64 target of shape []. "
        "A data set that is not in memory is read once for it, unless it has an attribute `targets` or `labels`.",
    )

    @model_validator(mode="after")
    def _fraction_or_fold(self) -> Split:
        given = [key for key in ("fraction", "fold", "of") if getattr(self, key) is not None]
        match given:
            case ["fraction"]:
                return self
            case ["fold", "of"]:
                assert self.fold is not None
                assert self.of is not None
                if self.fold < self.of:
                    return self
                fault = (("fold",), f"expected one of the {self.of} folds, 0 to {self.of - 1}, got {self.fold}")
            case ["fraction", *_]:
                fault = ((given[1],), "requires that fraction is not given: choose one")
            case ["of"]:
                fault = (("fold",), "required key is missing")
            case ["fold"]:
                fault = (("of",), "required key is missing")
            case _:
                fault = ((), "expected a fraction, or fold and of: {fraction: 0.1} or {fold: 0, of: 5}")
        raise faults([fault])
