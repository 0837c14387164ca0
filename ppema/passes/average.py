"""Where a train program keeps an average of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ppema.averaging.precision import SHADOW_TYPES
from ppema.averaging.rule import Rule
from ppema.ir import IR, Program, Variable
from ppema.passes.select import Choice


@dataclass(frozen=True)
class Average:
    """One average in a train program: the variables that hold it, by the names of what is averaged.

    name: the average's own. rule: when and how much it takes in. shadow_of: shadow's name by parameter's name. shadows: the
    shadows' variables by parameter's name. count, weight: names of the number of optimizer steps seen (0-D int64) and of W_t
    (0-D float64). step, total: the variables of the two. followed: by parameter's name the variable that the shadow follows,
    the parameter's own or that of its master weight. recalibrated: the names of the BatchNorm statistics whose shadow is
    measured (`passes/recalibrate.py`) rather than updated. rest_of: the name of what rounding lost of a shadow, by parameter's
    name, under `precision="compensated"`. rests: the variables of these. master_of: the name of the master weight that is
    averaged in place of a parameter, by parameter's name, where the optimizer keeps one. choices: what it covers, and why.
    """

    name: str
    rule: Rule
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
    choices: tuple[Choice, ...] = ()

    def __str__(self) -> str:
        """In words, for people."""
        measured = f", and {len(self.recalibrated)} statistics to be measured" if self.recalibrated else ""
        return f"{self.name!r} covers {len(self.followed)} variables{measured}"

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
