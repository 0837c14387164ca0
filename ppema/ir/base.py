"""The seam: everything ppema asks of Paddle's intermediate representation, as one small Protocol.

Each side of it (`pir.py` for Paddle 3, `legacy.py` for 2.6) is the only place that touches private names of its version.
What Paddle's public functions build alike everywhere (scalar arithmetic, casts, reductions) does not go through here, nor do
the variables of a scope, which are only names and arrays (`scope.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Program = Any  # paddle.static.Program
Variable = Any  # a variable of one program: what paddle's layers return in static mode
Gradient = tuple[Variable, Variable]  # a trained parameter and the gradient of the loss by it


@dataclass(frozen=True)
class Parameter:
    """One parameter or statistic of a program.

    name: the name of its variable in the scope; shape: its dimensions; dtype: as in numpy ("float32");
    trainable: False for BatchNorm's running mean and variance, and for weights that are frozen by `stop_gradient = True` or
    `trainable = False`;
    averaged: False where its author set `ParamAttr(do_model_average=False)`, and for whole numbers such as counters.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    trainable: bool
    averaged: bool
    variable: Variable


@dataclass(frozen=True)
class Operation:
    """One operation of a program, nested blocks included, as far as a test or a report needs to know it.

    kind: Paddle's name of it without prefix, which differs between versions ("batch_norm_", "batch_norm"); is_test: its
    switch, None where it has none; reads: the persistable variables among its operands; writes: those that it writes, or may
    write where its form does not tell, without those of nested blocks, which have operations of their own; trains: the
    variables that it updates by their gradients, as an optimizer's operation does; depth: of its block, 0 for the outermost;
    source: "file:line" of the user's code that built it, "" where unknown.
    """

    kind: str
    is_test: bool | None
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    trains: tuple[str, ...]
    depth: int
    source: str


@dataclass(frozen=True)
class TestSwitches:
    """The `is_test` switches of a program's operations, as they were before `set_test` turned them on; for `reset_test`."""

    __test__ = False  # the name is not meant for pytest
    before: tuple[tuple[Any, bool], ...]


@dataclass(frozen=True)
class AverageOp:
    """The inputs and attributes of the operation ppema_average, as native/average.cc describes them."""

    values: Sequence[Variable]
    state: Sequence[Variable]
    scalars: Sequence[Variable]
    conditional: bool
    layout: Sequence[int]
    decays: Sequence[str]


class Runner(Protocol):
    """Runs one program in one scope, and fetches the same variables each time."""

    def run(self, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Returns copies of what is fetched. Whatever an operation raises comes through."""
        ...


class IR(Protocol):
    """What each version of Paddle must offer."""

    def parameters(self, program: Program) -> list[Parameter]:
        """The parameters and statistics of `program`, in the order of their names."""
        ...

    def freeze_marked(self, program: Program) -> None:
        """Let no parameter of `program` that is marked `trainable = False` get a gradient. Before the loss's `backward`.

        Paddle 3.3 trains a parameter that is marked after its creation; Paddle 2.6 computes its gradient in vain.
        """
        ...

    def fresh_names(self) -> AbstractContextManager[None]:
        """Inside, names of layers and parameters are counted from 0, and outside they go on from where they were.

        Paddle's own `unique_name.guard` does not count those of `paddle.static.nn` and `create_parameter` anew on Paddle 3.3.
        """
        ...

    def state_names(self, program: Program) -> list[str]:
        """The names of all persistable variables of `program` (parameters, accumulators, shadows, LR), sorted."""
        ...

    def size(self, program: Program) -> int:
        """The number of operations of `program`, nested blocks included."""
        ...

    def initialised(self, startup: Program) -> set[str]:
        """The names of the variables that the startup program fills."""
        ...

    def operations(self, program: Program) -> Iterator[Operation]:
        """Every operation of `program` in order, those of nested blocks after the one that holds them."""
        ...

    def clone(self, program: Program, values: Sequence[Variable]) -> tuple[Program, list[Variable]]:
        """A copy of `program`, which shares no operation with it, and the copies in it of `values`.

        What the copy's parameters say of themselves (trainable, averaged) is what the originals say.
        """
        ...

    def rename_parameters(self, program: Program, names: Mapping[str, str], types: Mapping[str, str] | None = None) -> None:
        """Make `program` read the scope's variable `names[p]` in place of each parameter p in `names`.

        types: the type of that variable by p. Where it is not the parameter's own, the program casts what it reads.
        """
        ...

    def master_weights(self, program: Program) -> dict[str, tuple[str, Variable]]:
        """Name and variable of the float32 weight that the optimizer keeps for a parameter of a half type, by parameter.

        What it updates is that one (`multi_precision=True`); the parameter is its rounded copy. Empty before `minimize`.
        """
        ...

    def set_test(self, program: Program) -> TestSwitches:
        """Turn on every `is_test` switch of `program`, nested blocks included."""
        ...

    def reset_test(self, switches: TestSwitches) -> None:
        """Put the switches back to what each was before `set_test`."""
        ...

    def fix_statistics(self, program: Program, names: Set[str]) -> None:
        """Make every BatchNorm of `program` whose statistics are in `names` normalise by them, and leave them unchanged.

        Call it before the backward pass is built: the gradients then are those of a BatchNorm in test mode.
        """
        ...

    def observe_statistics(self, program: Program, names: Set[str]) -> list[tuple[str, str]]:
        """Make every BatchNorm of the test program `program` whose statistics are in `names` normalise by its batch, and
        write the batch's mean and variance, and nothing of their old values, into its statistics.

        Returns the names of the statistics (mean, variance) of each of those operations.
        """
        ...

    def create_state(
        self, main: Program, startup: Program, name: str, shape: Sequence[int], dtype: str, value: float | Parameter
    ) -> Variable:
        """A new persistable, non-trainable variable of `main`, in its outermost block wherever building goes on.

        `startup` fills it with the number `value`, or with the initial value of the parameter `value`, of the same shape, cast
        to `dtype`. Raises KeyError where `startup` does not initialise that parameter.
        """
        ...

    def append_lerp(self, target: Variable, value: Variable, weight: Variable) -> None:
        """Append `target += weight·(value - target)`, in place, to the default main program.

        target, value: float32 or float64, of one shape; weight: 0-D, of their type.

        As a step of SGD on ½|target - value|², with the rate `weight`: the same bits as Paddle's `lerp`, which goes through
        broadcasting for more than one axis and takes twice as long.
        """
        ...

    def append_average_op(self, op: AverageOp) -> None:
        """Append the operation ppema_average, which updates its averages in place, to the default main program."""
        ...

    def append_finite_op(self, values: Sequence[Variable]) -> tuple[Variable, Variable]:
        """Append the operation ppema_finite: of each of n values, float and of any shape, whether all its numbers are finite,
        [n] bool, and whether all of them are, [] bool.
        """
        ...

    def after_branches(self, main: Program, value: Variable) -> Variable:
        """`value`, a 0-D float, computed only after every `cond` and `while_loop` that `main` holds by now.

        BatchNorm inside a branch writes its statistics where the scheduler of operations may not see it from outside.
        """
        ...

    def early_copies(self, main: Program, parameters: Sequence[Parameter]) -> list[Variable]:
        """Copies of what `parameters` of `main` hold when a run begins, before any operation writes them.

        Operations inside a `cond` or `while_loop` that `main` holds by now are no exception.
        """
        ...

    def update_of(self, main: Program, optimizer: Any, gradients: Sequence[Gradient]) -> Callable[[Sequence[Gradient]], None]:
        """What appends `optimizer`'s update, by `gradients` or others of the same parameters, to the current block of `main`.

        That may be the block of a branch.

        The optimizer's state, the learning rate included, is in the outermost block, where all of it is found. Raises
        ConfigError where a gradient is sparse and the optimizer can not take it.
        """
        ...

    def gradient_values(self, gradient: Variable) -> Variable:
        """All numbers of a gradient as a dense variable: where it is sparse, as by `Embedding(sparse=True)`, of its rows."""
        ...

    def runner(self, executor: Any, scope: Any, program: Program, fetch: Sequence[Variable]) -> Runner:
        """What runs `program`, as it is at its first run, on the executor's device and in `scope`, which must be current."""
        ...

    def onednn_hindrance(self) -> str | None:
        """Why no operation can be computed by oneDNN, None where they can be, on a CPU."""
        ...

    def place_on_onednn(self, program: Program, kinds: Collection[str], fetched: Sequence[Variable]) -> Counter[str]:
        """Let oneDNN compute the operations of `program` whose kind is in `kinds`; returns how many there are, by kind.

        Those in nested blocks stay as they are, and so do those of other types than float32, or with a result in `fetched`. Of
        a placed operation the kind is "onednn_op.conv2d" and `is_test` None. All results but for rounding, and the layouts of
        all other variables, are what they were, if `settle` comes before every run. Only where there is no hindrance, and for
        programs without channels last.
        """
        ...

    def channels_last(self, program: Program) -> str | None:
        """The kind of the first operation of `program` with channels last, in nested blocks too; None: there is none."""
        ...

    def settle(self) -> None:
        """Undo what other programs that ran in this thread left there, and what would change results on oneDNN."""
        ...

    def quicken(self, program: Program, fetched: Sequence[Variable]) -> Counter[str]:
        """Replace operations of `program` that Paddle computes slowly on a CPU by others of the same meaning.

        Returns how many, by kind. Those in nested blocks, and those with a result that is in `fetched`, stay as they are. Only
        where nothing hinders oneDNN.
        """
        ...

    def update_section(self, main: Program) -> AbstractContextManager[None]:
        """What is appended to `main` inside belongs to the update of weights, not to the model."""
        ...


def dtype_name(variable: Variable) -> str:
    """The type of a variable's elements as numpy spells it: "float32"."""
    return str(variable.dtype).rpartition(".")[2].lower()
