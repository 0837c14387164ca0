"""The EMA pass: appends one average's update to a train program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import paddle

from ppema.averaging.decay import FLOATS, Constant, HalfLife, Schedule, step_size, weight_after
from ppema.averaging.precision import SHADOW_TYPES, Precision, compensated
from ppema.errors import AverageError
from ppema.ir import IR, Parameter, Program, Variable, dtype_name


class _GraphArithmetic:
    """Schedule arithmetic on 0-D float64 variables of the default main program.

    Float64 because 1 - d keeps only half of float32's digits when d is near 1. Constants enter as `full` ops: an operand
    given as a Python number passes through float32 inside Paddle, which only whole numbers survive.
    """

    def constant(self, value: float) -> Variable:
        return paddle.full([], value, "float64")

    def minimum(self, a: Variable, b: Variable) -> Variable:
        return paddle.minimum(a, b)

    def maximum(self, a: Variable, b: Variable) -> Variable:
        return paddle.maximum(a, b)

    def exp(self, a: Variable) -> Variable:
        return paddle.exp(a)

    def log(self, a: Variable) -> Variable:
        return paddle.log(a)


GRAPH = _GraphArithmetic()


@dataclass(frozen=True)
class Average:
    """One average as it stands in a train program: which variables hold it, by the names of what is averaged.

    name: the average's own; shadow_of: shadow's name by parameter's name; shadows: the shadows' variables by parameter's
    name; count, weight: names of the number of optimizer steps seen (0-D int64) and of W_t (0-D float64); step: the variable
    of that number, this step included; recalibrated: the names of those BatchNorm statistics that have a shadow which no
    update writes, because they are measured (`recalibration.py`); rest_of: the name of what rounding lost of a shadow, by
    parameter's name, under `precision="compensated"`; master_of: the name of the master weight that is averaged in place of a
    parameter, by parameter's name, where the optimizer keeps one.
    """

    name: str
    shadow_of: dict[str, str]
    shadows: dict[str, Variable]
    count: str
    weight: str
    step: Variable
    recalibrated: tuple[str, ...] = ()
    rest_of: dict[str, str] = field(default_factory=dict)
    master_of: dict[str, str] = field(default_factory=dict)

    @property
    def state_names(self) -> list[str]:
        """Everything that must be saved for the average to go on: shadows, their rests, count and weight."""
        return [*self.shadow_of.values(), *self.rest_of.values(), self.count, self.weight]


def shadow_name(parameter: str, average: str) -> str:
    """The name under which `average` keeps `parameter`, as in TensorFlow: the variable's own name first."""
    return f"{parameter}/{average}"


@dataclass(frozen=True)
class EmaPass:
    """Make a train program update one average of its weights.

    Takes a program that already holds its optimizer's ops, so that the update sees the step's new weights. Adds, for each
    averaged parameter θ, a shadow s that is saved with the program, the scalars t and W, and the ops of
        W_t = d_t·W_{t-1} + (1 - d_t),   s_t = s_{t-1} + (1 - d_t)/W_t·(θ_t - s_{t-1})
    so that after every update the shadow is the bias-corrected average itself; see `averaging/decay.py`. Nothing that was
    in the program before is changed. Before the first step the shadows mean nothing.

    Shadows are float32, float64 of float64 parameters. Of a float16 or bfloat16 parameter θ is the optimizer's master weight,
    where it keeps one, else the parameter cast to float32.

    name: of the average. schedule: its decay. start: steps that the average leaves out; until then the shadow follows the
    weights. update_every: steps from one update to the next; the average takes in the weights after each multiple of it. scale:
    the exponent κ of the decay under a batch κ times as large as the one it was chosen for (Busbridge et al. 2023).
    bias_correction: False for TensorFlow's semantics: s_t = s_{t-1} + (1 - d_t)·(θ_t - s_{t-1}), from θ's initial value on.
    precision: "compensated" keeps what each update's rounding loses in a second variable of the shadow's form, for the next.
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
        return self.schedule(float(n), self.update_every * self.scale, FLOATS) if n >= 0 else 0.0

    def apply(
        self,
        ir: IR,
        main: Program,
        startup: Program,
        parameters: Sequence[Parameter],
        recalibrated: Sequence[Parameter] = (),
        when: Variable | None = None,
    ) -> Average:
        """Append to `main`, and the initial values to `startup`.

        parameters: what is averaged; recalibrated: the BatchNorm statistics that get a shadow for what is measured later, and
        no update. when: a bool variable of one element, True in the runs of `main` that are an optimizer step (of gradient
        accumulation, say); None: all are.

        Raises AverageError where there is no parameter, the name is taken, a parameter is of a type that has no shadow, or,
        without bias correction, `startup` gives a parameter no initial value.
        """
        shadow_of = self._names(ir, main, parameters, recalibrated)
        try:
            # Zero, and not the initial value, so that the first update gives the weights bit for bit.
            initial = {p.name: 0.0 if self.bias_correction else p for p in parameters} | {p.name: p for p in recalibrated}
            shadows = {
                p.name: ir.create_state(main, startup, shadow_of[p.name], p.shape, SHADOW_TYPES[p.dtype], initial[p.name])
                for p in (*parameters, *recalibrated)
            }
        except KeyError as error:
            raise AverageError(f"the startup program gives {error} no initial value, with which its average begins") from error
        rest_of, rests = {}, {}
        for p in parameters if self.precision == "compensated" else ():
            rest_of[p.name] = f"{shadow_of[p.name]}/rest"
            rests[p.name] = ir.create_state(main, startup, rest_of[p.name], p.shape, SHADOW_TYPES[p.dtype], 0.0)
        masters = {name: each for name, each in ir.master_weights(main).items() if name in shadow_of}
        # By the first shadow's name, as two programs may share a scope and call their averages alike.
        prefix = f"{next(iter(shadow_of.values()))}/"
        count = ir.create_state(main, startup, prefix + "count", [], "int64", 0)
        weight = ir.create_state(main, startup, prefix + "weight", [], "float64", 0.0)
        with paddle.static.program_guard(main, startup), ir.update_section(main):
            happens = None if when is None else paddle.reshape(when, [])
            step = count + 1 if happens is None else count + paddle.cast(happens, "int64")
            new_weight, alpha = self._scalars(step, weight)
            early, alpha = alpha, ir.after_branches(main, alpha)
            alphas = {dtype: alpha.astype(dtype) for dtype in sorted({SHADOW_TYPES[p.dtype] for p in parameters})}

            def update() -> None:
                for p in parameters:
                    value = masters[p.name][1] if p.name in masters else p.variable
                    _follow(ir, shadows[p.name], rests.get(p.name), value, alphas[SHADOW_TYPES[p.dtype]])
                paddle.assign(new_weight, output=weight)

            due = self._due(step, happens)
            if due is None and alpha is not early:
                # Operations that do not take alpha, such as casts, may read too soon what the model's branches write. In a
                # branch of their own all of them wait for alpha.
                due = alpha >= GRAPH.constant(0.0)
            if due is None:
                update()
            else:
                paddle.static.nn.cond(due, update, None)
            paddle.assign(step, output=count)
        names = tuple(p.name for p in recalibrated)
        master_of = {name: master for name, (master, _) in masters.items()}
        return Average(self.name, shadow_of, shadows, prefix + "count", prefix + "weight", step, names, rest_of, master_of)

    def _names(
        self, ir: IR, main: Program, parameters: Sequence[Parameter], recalibrated: Sequence[Parameter]
    ) -> dict[str, str]:
        """The shadows' names by parameter's name. Raises AverageError for what can not be averaged."""
        for parameter in (*parameters, *recalibrated):
            if parameter.dtype not in SHADOW_TYPES:
                known = ", ".join(SHADOW_TYPES)
                raise AverageError(f"{parameter.name} is {parameter.dtype}; averages cover {known}: exclude it")
        if not parameters:
            raise AverageError(f"there is nothing for the average {self.name!r} to cover")
        shadow_of = {parameter.name: shadow_name(parameter.name, self.name) for parameter in (*parameters, *recalibrated)}
        clash = set(shadow_of.values()).intersection(ir.state_names(main))
        if clash:
            raise AverageError(f"the program already has an average named {self.name!r} ({min(clash)})")
        return shadow_of

    def _scalars(self, step: Variable, weight: Variable) -> tuple[Variable, Variable]:
        """W and α of an update after `step`, 0-D float64."""
        since = paddle.cast(step, "float64") - float(self.first)
        decay = self.schedule(GRAPH.maximum(since, GRAPH.constant(0.0)), self.update_every * self.scale, GRAPH)
        new_weight = weight_after(weight, decay) if self.bias_correction else GRAPH.constant(1.0)
        alpha = step_size(new_weight, decay)
        if self.first > 1:
            # Until the average begins the shadow is the weights themselves, and no observation has weight.
            begun = since >= GRAPH.constant(0.0)
            new_weight = paddle.where(begun, new_weight, GRAPH.constant(0.0))
            alpha = paddle.where(begun, alpha, GRAPH.constant(1.0))
        return new_weight, alpha

    def _due(self, step: Variable, happens: Variable | None) -> Variable | None:
        """Whether a run updates the average, None for every run: it is an optimizer step, and ends an interval.

        The very first step ends one too where the shadow holds nothing yet.
        """
        if self.update_every == 1:
            return happens
        due = divides(self.update_every, step)
        if self.bias_correction:
            due = paddle.logical_or(due, paddle.equal(step, paddle.full([], 1, "int64")))
        return due if happens is None else paddle.logical_and(happens, due)


def read_shadows(ir: IR, program: Program, shadow_of: Mapping[str, str]) -> None:
    """Make the test program `program` read the shadow `shadow_of[p]`, as p's type, in place of each parameter p."""
    types = {p.name: SHADOW_TYPES[p.dtype] for p in ir.parameters(program) if p.name in shadow_of}
    ir.rename_parameters(program, shadow_of, types)


def divides(interval: int, step: Variable) -> Variable:
    """Whether `step`, 0-D int64, is a multiple of `interval`."""
    return paddle.equal(paddle.remainder(step, paddle.full([], interval, "int64")), paddle.full([], 0, "int64"))


def _follow(ir: IR, shadow: Variable, rest: Variable | None, value: Variable, alpha: Variable) -> None:
    """Append shadow += alpha·(value - shadow), with what rounding loses kept in `rest`, if there is one."""
    if dtype_name(value) != dtype_name(shadow):
        value = paddle.cast(value, shadow.dtype)
    if rest is None:
        ir.append_lerp(shadow, value, alpha)
        return
    updated, lost = compensated(shadow, rest, value, alpha)
    paddle.assign(updated, output=shadow)
    paddle.assign(lost, output=rest)
