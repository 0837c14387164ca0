"""The variables of an average in a train program, and their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ppema.averaging.precision import SHADOW_TYPES
from ppema.averaging.rule import Rule
from ppema.averaging.shards import Piece, Sharding
from ppema.ir import IR, Program, Variable
from ppema.passes.select import Choice


@dataclass(frozen=True)
class Average:
    """One average in a train program: its rule and its variables. All mappings have parameters' names as keys.

    name: name of the average, unique in the program.
    rule: when and with which decay it is updated.
    shadow_of, shadows: names and variables of the shadows, float32 or float64, of the parameters' shapes.
    count, step: name and variable of the number of optimizer steps seen, 0-D int64.
    weight, total: name and variable of W_t, 0-D float64.
    followed: variables that the shadows average: the parameters, or their master weights if the optimizer keeps any.
    sharding: how several ranks share the averaged parameters; None: a process keeps the whole average. With it, `shadows`,
    `rests` and `followed` have the parameters of which this rank holds a piece, and a shadow or rest is that piece.
    recalibrated: names of the BatchNorm statistics whose shadows are measured (`passes/recalibrate.py`), not updated.
    rest_of, rests: names and variables of the shadows' rounding errors, under `precision="compensated"`.
    master_of: names of the master weights that are averaged in place of their parameters.
    choices: how the average treats each parameter, and why.
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
    sharding: Sharding | None = None

    def __str__(self) -> str:
        """The average in words, for the report of passes."""
        measured = f", and {len(self.recalibrated)} statistics to be measured" if self.recalibrated else ""
        shared = "" if self.sharding is None else f", of which each of {self.sharding.ranks} ranks holds an equal part"
        return f"{self.name!r} covers {len(self.shadow_of) - len(self.recalibrated)} variables{shared}{measured}"

    @property
    def cuts(self) -> Mapping[str, Piece]:
        """The piece of each followed parameter that is averaged only in part."""
        return {} if self.sharding is None else self.sharding.cuts

    @property
    def read(self) -> dict[str, str]:
        """The shadows that a test program of the average reads, by parameter: all; of a shared average the measured statistics.

        The other values of a shared average are put in place of the raw weights (`distributed/sharded.py`).
        """
        return self.shadow_of if self.sharding is None else {name: self.shadow_of[name] for name in self.recalibrated}

    @property
    def state_names(self) -> list[str]:
        """The names of the average's whole state, as a checkpoint must hold it: shadows, rests, count and weight."""
        return [*self.shadow_of.values(), *self.rest_of.values(), self.count, self.weight]


def shadow_name(parameter: str, average: str) -> str:
    """The name of the shadow of `parameter` in `average`: "<parameter>.<average>".

    The order is TensorFlow's. The separator is a dot, since `paddle.static.save_vars` and `save_persistables` name a file after
    each variable. With TensorFlow's slash the parameter's own file would be a folder.
    """
    return f"{parameter}.{average}"


def rest_name(shadow: str) -> str:
    """The name of the variable for the rounding error of `shadow`, under precision="compensated"."""
    return f"{shadow}.rest"


def read_shadows(ir: IR, program: Program, shadow_of: Mapping[str, str]) -> None:
    """Make the test program `program` read the shadow `shadow_of[p]`, cast to p's type, in place of each parameter p."""
    types = {p.name: SHADOW_TYPES[p.dtype] for p in ir.parameters(program) if p.name in shadow_of}
    ir.rename_parameters(program, shadow_of, types)
