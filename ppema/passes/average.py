"""What an average of weights is: its rule in numbers, and where a train program keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ppema.averaging.decay import FLOATS, Constant, HalfLife, Schedule
from ppema.averaging.precision import SHADOW_TYPES, Precision
from ppema.ir import IR, Program, Variable


@dataclass(frozen=True)
class Rule:
    """When an average takes in the weights, and how much of them.

    name: of the average. schedule: its decay. start: steps that the average leaves out; until then the shadow follows the
    weights. update_every: steps from one update to the next; the average takes in the weights after each multiple of it. scale:
    the exponent κ of the decay under a batch κ times as large as the one it was chosen for (Busbridge et al. 2023).
    bias_correction: False for TensorFlow's semantics: s_t = s_{t-1} + (1 - d_t)·(θ_t - s_{t-1}), from θ's initial value on.
    precision: "compensated" keeps what each update's rounding loses in a second variable of the shadow's form, for the next.

    Raises ValueError for a scale out of range and for a decay that float64 can not tell from 1.
    """

    name: str
    schedule: Schedule
    start: int = 0
    update_every: int = 1
    scale: float = 1.0
    bias_correction: bool = True
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        if not 1e-6 <= self.scale <= 1e6:
            raise ValueError(f"a batch {self.scale:.6g} times as large as that of the decay: expected a millionth to a million")
        if isinstance(self.schedule, (Constant, HalfLife)):
            self.decay_at(self.first)  # raises ValueError for one that float64 can not tell from 1, before anything is built

    @property
    def interval(self) -> float:
        """The steps that one update stands for, in steps of the batch that the decay was chosen for."""
        return self.update_every * self.scale

    @property
    def begin(self) -> int:
        """The steps that the average leaves out: `start`, rounded down to a multiple of update_every."""
        return self.start // self.update_every * self.update_every

    @property
    def first(self) -> int:
        """The step, from 1, after which the first observation enters the average."""
        return self.begin + self.update_every

    def decay_at(self, step: int) -> float:
        """The decay of the last update at or before optimizer step `step`, counted from 1; 0 before the first."""
        n = step // self.update_every * self.update_every - self.first
        return self.schedule(float(n), self.interval, FLOATS) if n >= 0 else 0.0


@dataclass(frozen=True)
class Average:
    """One average as it stands in a train program: which variables hold it, by the names of what is averaged.

    name: the average's own; shadow_of: shadow's name by parameter's name; shadows: the shadows' variables by parameter's
    name; count, weight: names of the number of optimizer steps seen (0-D int64) and of W_t (0-D float64); step, total: the
    variables of the two; followed: by parameter's name the variable that the shadow follows, the parameter's own or that of its
    master weight; recalibrated: the names of those BatchNorm statistics that have a shadow which no update writes, because they
    are measured (`recalibration.py`); rest_of: the name of what rounding lost of a shadow, by parameter's name, under
    `precision="compensated"`; rests: the variables of these; master_of: the name of the master weight that is averaged in
    place of a parameter, by parameter's name, where the optimizer keeps one.
    """

    name: str
    shadow_of: dict[str, str]
    shadows: dict[str, Variable]
    count: str
    weight: str
    step: Variable
    total: Variable
    followed: dict[str, Variable]
    recalibrated: tuple[str, ...] = ()
    rest_of: dict[str, str] = field(default_factory=dict)
    rests: dict[str, Variable] = field(default_factory=dict)
    master_of: dict[str, str] = field(default_factory=dict)

    @property
    def state_names(self) -> list[str]:
        """Everything that must be saved for the average to go on: shadows, their rests, count and weight."""
        return [*self.shadow_of.values(), *self.rest_of.values(), self.count, self.weight]


def shadow_name(parameter: str, average: str) -> str:
    """The name under which `average` keeps `parameter`, as in TensorFlow: the variable's own name first.

    Joined by a dot rather than TensorFlow's slash: `paddle.static.save_vars` and `save_persistables` name a file after each
    variable, and a slash would make the parameter's own file a folder.
    """
    return f"{parameter}.{average}"


def rest_name(shadow: str) -> str:
    """The name of what rounding lost of `shadow`, under precision="compensated"."""
    return f"{shadow}.rest"


def read_shadows(ir: IR, program: Program, shadow_of: Mapping[str, str]) -> None:
    """Make the test program `program` read the shadow `shadow_of[p]`, as p's type, in place of each parameter p."""
    types = {p.name: SHADOW_TYPES[p.dtype] for p in ir.parameters(program) if p.name in shadow_of}
    ir.rename_parameters(program, shadow_of, types)
