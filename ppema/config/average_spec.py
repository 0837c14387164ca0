"""What a config may say of one average: its length, how it grows, and when it is updated."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict, model_validator

from ppema.averaging.power import NARROWEST, WIDEST
from ppema.config.duration import Duration
from ppema.config.section import Count, Flag, Fraction, InFloat32, Positive, Section, Text
from ppema.config.wording import expecting, faults
from ppema.errors import Path

_LENGTHS = ("decay", "half_life", "simple", "sigma_rel")
# What a key makes sense beside, alone.
_NEEDS = {"thres_steps": "decay", "warmup": "decay", "tau": "decay", "ramp": "half_life", "reference_batch": "decay"}
DEFAULT_BATCHES = 50  # for batch_norm: recalibrate
_GROWTHS = ("thres_steps", "warmup", "tau")

# The simple average is the power function of exponent 0, and has the width 1 / sqrt(12); none is wider.
Share = Annotated[float, Strict(), Field(gt=0, le=1), expecting("a number in (0, 1]"), InFloat32]
Width = Annotated[float, Strict(), Field(ge=NARROWEST, le=12**-0.5), expecting(f"a number in [{NARROWEST}, {WIDEST}]")]


class Warmup(Section):
    """An inverse-gamma warm-up: the decay of the step after n others is at most 1 - (1 + n / gamma) ** -power."""

    gamma: Positive = Field(default=1.0, description="Steps on which the growth is scaled.")
    power: Positive = Field(default=2 / 3, description="2/3 for long runs, 3/4 for shorter ones.")
    min: Fraction = Field(default=0.0, description="The decay is at least this, from the second step on.")


class Average(Section):
    """One average of the weights; exactly one of decay, half_life, simple and sigma_rel says how long it is."""

    decay: Fraction | None = Field(default=None, description="The share of the old average that a step keeps; 0.999 is usual.")
    half_life: Duration | None = Field(default=None, description="After this time an observation weighs half as much.")
    simple: Flag = Field(default=False, description="The mean of all weights since the start: stochastic weight averaging.")
    sigma_rel: Width | None = Field(
        default=None, description="A power function of this width relative to the run, as in EDM2; 0.05 and 0.10 are usual."
    )
    thres_steps: Flag = Field(default=False, description="The decay is at most (1 + n) / (10 + n) after n steps.")
    warmup: Warmup | None = Field(default=None, description="The decay grows as 1 - (1 + n / gamma) ** -power.")
    tau: Positive | None = Field(default=None, description="The decay grows as decay * (1 - exp(-(n + 1) / tau)), in steps.")
    ramp: Positive | None = Field(
        default=None, description="The half-life is at most this share of the steps so far, this one included; EDM2: 0.09."
    )
    start: Duration | None = Field(
        default=None, description="Leave out this much of the run; until then the average is the weights."
    )
    update_every: Count = Field(default=1, description="Steps between two updates; a decay keeps its meaning per step.")
    bias_correction: Flag = Field(
        default=True, description="false: as TensorFlow, begin with the initial weights and do not correct for them."
    )
    overwrite_every: Duration | None = Field(
        default=None, description="Switch EMA: after each such time the raw weights become the average; null: never."
    )
    overwrite_mix: Share = Field(
        default=1.0, description="How much of the average the weights become then: 1 all of it, 0.5 the middle."
    )
    precision: Literal["float32", "compensated"] = Field(
        default="float32",
        description="compensated: keep what float32 loses in a second array per parameter, for decays close to 1.",
    )
    include: tuple[Text, ...] = Field(
        default=(), description="Regular expressions on names or places in the model; only what one matches is averaged."
    )
    exclude: tuple[Text, ...] = Field(default=(), description="Regular expressions; what one matches is not averaged.")
    batch_norm: Literal["average", "copy", "recalibrate"] = Field(
        default="average",
        description="BatchNorm's statistics: averaged like weights, the raw model's, or measured anew for the average.",
    )
    recalibrate_batches: Count | None = Field(
        default=None, description="Training batches on which batch_norm: recalibrate measures; null: 50."
    )
    reference_batch: Count | None = Field(
        default=None, description="The batch size that decay was chosen for: it is raised to batch_size / reference_batch."
    )

    @property
    def batches(self) -> int:
        """Training batches on which the statistics are measured, where they are."""
        return self.recalibrate_batches or DEFAULT_BATCHES

    @model_validator(mode="after")
    def _one_length_and_what_goes_with_it(self) -> Average:
        # By identity: a decay of 0.0 equals False.
        given = [key for key in type(self).model_fields if not any(getattr(self, key) is off for off in (None, False))]
        lengths = [key for key in _LENGTHS if key in given]
        if len(lengths) != 1:
            got = f"got {' and '.join(lengths)}" if lengths else "got none of them"
            raise faults([((), f"expected one of {', '.join(_LENGTHS)}, {got}")])
        found: list[tuple[Path, str]] = [
            ((key,), f"goes with {needed} alone") for key, needed in _NEEDS.items() if key in given and needed not in given
        ]
        if self.recalibrate_batches is not None and self.batch_norm != "recalibrate":
            found.append((("recalibrate_batches",), "goes with batch_norm: recalibrate alone"))
        if self.overwrite_mix != 1 and self.overwrite_every is None:
            found.append((("overwrite_mix",), "goes with overwrite_every alone"))
        growths = [key for key in _GROWTHS if key in given]
        if len(growths) > 1:
            found.append(((growths[1],), f"does not go with {growths[0]}: choose one way to grow"))
        if self.warmup is not None and self.decay is not None and self.warmup.min > self.decay:
            found.append((("warmup", "min"), f"expected at most the decay, {self.decay}, got {self.warmup.min}"))
        if not self.bias_correction and (self.simple or self.sigma_rel):
            found.append((("bias_correction",), "simple and sigma_rel need no correction: remove it"))
        if found:
            raise faults(found)
        return self
