"""The config section of one average: its length, its growth, and the steps that update it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict, model_validator

from ppema.averaging.power import NARROWEST, WIDEST
from ppema.config.duration import Duration
from ppema.config.section import Count, Flag, Fraction, InFloat32, Positive, Section, Text, examples
from ppema.config.wording import expecting, faults
from ppema.errors import Path

_LENGTHS = ("decay", "half_life", "simple", "sigma_rel")
# Keys that require another key.
_NEEDS = {"thres_steps": "decay", "warmup": "decay", "tau": "decay", "ramp": "half_life", "reference_batch": "decay"}
DEFAULT_BATCHES = 50  # for batch_norm: recalibrate
_GROWTHS = ("thres_steps", "warmup", "tau")

# The widest power function is the simple average: exponent 0, width 1 / sqrt(12).
Share = Annotated[float, Strict(), Field(gt=0, le=1), expecting("a number in (0, 1]"), InFloat32]
Width = Annotated[float, Strict(), Field(ge=NARROWEST, le=12**-0.5), expecting(f"a number in [{NARROWEST}, {WIDEST}]")]


class WarmupSpec(Section):
    """An inverse-gamma warm-up: after n updates the decay is at most `1 - (1 + n / gamma) ** -power`."""

    model_config = examples({"gamma": 1.0, "power": 0.75, "min": 0.1})

    gamma: Positive = Field(default=1.0, description="Time scale of the growth, in updates.")
    power: Positive = Field(default=2 / 3, description="Exponent of the growth: 2/3 for long runs, 3/4 for short ones.")
    min: Fraction = Field(default=0.0, description="Lower bound of the decay, from the second update on.")


class AverageSpec(Section):
    """One average of the weights. Exactly one of `decay`, `half_life`, `simple` and `sigma_rel` sets its length."""

    model_config = examples(
        {"decay": 0.999},
        {"decay": 0.999, "thres_steps": True},
        {"decay": 0.9999, "warmup": {"power": 0.75}, "precision": "compensated"},
        {"decay": 0.9998, "tau": 2000},
        {"decay": 0.999, "bias_correction": False, "start": "1 step"},
        {"decay": 0.9999, "reference_batch": 64, "update_every": 4},
        {"half_life": "2 epochs", "ramp": 0.09},
        {"simple": True, "start": "50 %"},
        {"sigma_rel": 0.05},
        {"decay": 0.999, "include": ["^backbone"], "exclude": ["bias$"]},
        {"decay": 0.9999, "batch_norm": "recalibrate", "recalibrate_batches": 100},
        {"decay": 0.99, "overwrite_every": "1 epoch", "overwrite_mix": 0.5},
        {"decay": 0.9999, "sharded": True},
    )

    decay: Fraction | None = Field(default=None, description="Share of the old average that each step keeps. Usual: 0.999.")
    half_life: Duration | None = Field(default=None, description="Time after which a step's weights count half.")
    simple: Flag = Field(default=False, description="Mean of all weights since `start`: stochastic weight averaging (SWA).")
    sigma_rel: Width | None = Field(
        default=None, description="Power function of this width relative to the run, as in EDM2. Usual: 0.05 and 0.10."
    )
    thres_steps: Flag = Field(
        default=False,
        description="Limits the decay to `(1 + n) / (10 + n)` after n updates, as in TensorFlow. Requires `decay`.",
    )
    warmup: WarmupSpec | None = Field(
        default=None, description="Limits the decay to `1 - (1 + n / gamma) ** -power` after n updates. Requires `decay`."
    )
    tau: Positive | None = Field(
        default=None, description="The decay grows as `decay * (1 - exp(-(n + 1) / tau))`. Unit: steps. Requires `decay`."
    )
    ramp: Positive | None = Field(
        default=None,
        description="Limits the half-life to this share of the steps so far, including the current one. EDM2: 0.09. "
        "Requires `half_life`.",
    )
    start: Duration | None = Field(
        default=None, description="First part of the run, which is left out. Until then the average equals the weights."
    )
    update_every: Count = Field(default=1, description="Steps between two updates. The decay remains one per step.")
    bias_correction: Flag = Field(
        default=True, description="false: the average begins with the initial weights and keeps their share, as in TensorFlow."
    )
    overwrite_every: Duration | None = Field(
        default=None, description="Switch EMA: the interval at which the average overwrites the raw weights. null: never."
    )
    overwrite_mix: Share = Field(
        default=1.0,
        description="Share of the average in the overwritten weights: 1 is the average itself. Requires `overwrite_every`.",
    )
    precision: Literal["float32", "compensated"] = Field(
        default="float32",
        description="compensated: a second array per parameter keeps the rounding errors of float32. For decays close to 1.",
    )
    include: tuple[Text, ...] = Field(
        default=(),
        description="Regular expressions on names of variables or places in the model. Only matching variables are averaged.",
    )
    exclude: tuple[Text, ...] = Field(default=(), description="Regular expressions. Matching variables are not averaged.")
    batch_norm: Literal["average", "copy", "recalibrate"] = Field(
        default="average",
        description="BatchNorm statistics of the average: averaged like weights, copied from the raw model, or measured on "
        "training batches.",
    )
    recalibrate_batches: Count | None = Field(
        default=None, description="Training batches for the measurement; null: 50. Requires `batch_norm: recalibrate`."
    )
    reference_batch: Count | None = Field(
        default=None,
        description="Batch size for which the decay was chosen. The decay becomes `decay ** (batch_size / reference_batch)`. "
        "Requires `decay`.",
    )
    sharded: Flag = Field(
        default=False,
        description="true: each rank of a data-parallel run updates and holds one part of the average. One process holds all.",
    )

    @property
    def batches(self) -> int:
        """Number of training batches for `batch_norm: recalibrate`, with the default filled in."""
        return self.recalibrate_batches or DEFAULT_BATCHES

    @model_validator(mode="after")
    def _one_length_and_its_keys(self) -> AverageSpec:
        # Compared by identity, because a decay of 0.0 equals False.
        given = [key for key in type(self).model_fields if not any(getattr(self, key) is off for off in (None, False))]
        lengths = [key for key in _LENGTHS if key in given]
        if len(lengths) != 1:
            got = f"got {' and '.join(lengths)}" if lengths else "got none of them"
            raise faults([((), f"expected one of {', '.join(_LENGTHS)}, {got}")])
        found: list[tuple[Path, str]] = [
            ((key,), f"requires {needed}") for key, needed in _NEEDS.items() if key in given and needed not in given
        ]
        if self.recalibrate_batches is not None and self.batch_norm != "recalibrate":
            found.append((("recalibrate_batches",), "requires batch_norm: recalibrate"))
        if self.overwrite_mix != 1 and self.overwrite_every is None:
            found.append((("overwrite_mix",), "requires overwrite_every"))
        growths = [key for key in _GROWTHS if key in given]
        if len(growths) > 1:
            found.append(((growths[1],), f"can not be combined with {growths[0]}: choose one way to grow"))
        if self.warmup is not None and self.decay is not None and self.warmup.min > self.decay:
            found.append((("warmup", "min"), f"expected at most the decay, {self.decay}, got {self.warmup.min}"))
        if self.sharded and self.overwrite_every is not None:
            found.append(
                (("sharded",), "can not be combined with overwrite_every, for which each rank needs the whole average")
            )
        if self.sharded and not self.bias_correction:
            found.append((("sharded",), "requires bias_correction: a part does not begin with the initial weights"))
        if not self.bias_correction and (self.simple or self.sigma_rel):
            found.append((("bias_correction",), "simple and sigma_rel need no correction: remove it"))
        if found:
            raise faults(found)
        return self
