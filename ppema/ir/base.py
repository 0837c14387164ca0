"""The seam: everything that ppema needs of Paddle's intermediate representation, as one Protocol, `IR`.

`pir.py` implements it for Paddle 3 and `legacy.py` for 2.6. Each is the only module that uses private names of its version.
Paddle's public functions for scalar arithmetic, casts and reductions are the same on both versions and are called directly.
The variables of a scope are names and arrays on both versions (`scope.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np

from ppema.ir.elements import (
    Gradient,
    NativeOp,
    NormedProduct,
    Operation,
    Parameter,
    Program,
    TestSwitches,
    Variable,
)
from ppema.ir.updates.update import OptimizerUpdate, Update


class Runner(Protocol):
    """Runs one program in one scope, and fetches the same variables each time."""

    def run(self, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Run the program once and return copies of the fetched values. An operation's exception is passed on."""
        ...


class IR(Protocol):
    """The operations on programs that each side of the seam implements."""

    def parameters(self, program: Program) -> list[Parameter]:
        """The parameters and statistics of `program`, in the order of their names."""
        ...

    def freeze_marked(self, program: Program) -> None:
        """Stop the gradients of all parameters of `program` that are marked `trainable = False`. Call it before `backward`.

        Paddle 3.3 trains a parameter that was marked after its creation. Paddle 2.6 computes its gradient without using it.
        """
        ...

    def fresh_names(self) -> AbstractContextManager[None]:
        """A context in which the numbers in names of layers and parameters begin with 0. Afterwards the former count continues.

        On Paddle 3.3 Paddle's own `unique_name.guard` does not reset the count of `paddle.static.nn` and `create_parameter`.
        """
        ...

    def state_names(self, program: Program) -> list[str]:
        """The names of all persistable variables of `program` (parameters, accumulators, shadows, LR), sorted."""
        ...

    def size(self, program: Program) -> int:
        """The number of operations of `program`, nested blocks included."""
        ...

    def initialised(self, startup: Program) -> set[str]:
        """The names of the variables that the startup program initialises."""
        ...

    def operations(self, program: Program) -> Iterator[Operation]:
        """Every operation of `program` in order. Operations of nested blocks follow the operation that holds the blocks."""
        ...

    def clone(self, program: Program, values: Sequence[Variable]) -> tuple[Program, list[Variable]]:
        """A copy of `program` that shares no operation with it, and the copies of `values` in it.

        The marks of its parameters (trainable, averaged) are those of the originals.
        """
        ...

    def rename_parameters(self, program: Program, names: Mapping[str, str], types: Mapping[str, str] | None = None) -> None:
        """Make `program` read the scope's variable `names[p]` in place of each parameter p in `names`.

        types: the type of that variable, by p. If it differs from the parameter's type, the program casts the variable.
        """
        ...

    def master_weights(self, program: Program) -> dict[str, tuple[str, Variable]]:
        """Name and variable of the optimizer's float32 master weight of each half parameter that has one, by its name.

        The optimizer updates the master weight (`multi_precision=True`), and the parameter is its rounded copy. The result is
        empty before `minimize`.
        """
        ...

    def set_test(self, program: Program) -> TestSwitches:
        """Turn on every `is_test` switch of `program`, nested blocks included."""
        ...

    def reset_test(self, switches: TestSwitches) -> None:
        """Restore each switch to its value before `set_test`."""
        ...

    def fix_statistics(self, program: Program, names: Set[str]) -> None:
        """Make every BatchNorm of `program` whose statistics are in `names` normalise by them, and leave them unchanged.

        Call it before the backward pass is built: the gradients then are those of a BatchNorm in test mode.
        """
        ...

    def autocast(self, main: Program, dtype: str) -> AbstractContextManager[None]:
        """A context for a model's forward pass in `main`: its convolutions and matrix products compute in `dtype`.

        Their operands are cast, variables stay float32. Normalisation, softmax, exponentials and sums compute in float32, other
        operations in the type of their operands. dtype: "float16" or "bfloat16". `main` must be empty before.
        """
        ...

    def computed_in(self, program: Program, dtype: str) -> Counter[str]:
        """The number of operations of `program` with a result of the type `dtype`, nested blocks included, by kind."""
        ...

    def observe_statistics(self, program: Program, names: Set[str]) -> list[tuple[str, str]]:
        """Change every BatchNorm of the test program `program` with statistics in `names`: it normalises by its batch.

        It then sets its statistics to the batch's mean and variance, without the old values. Returns the names of the
        statistics (mean, variance) of each of these operations.
        """
        ...

    def count_values(self, program: Program, names: Mapping[str, str]) -> None:
        """Make `program` set the variable names[m], int64 [], to the number of values that BatchNorm normalises.

        m: the variable of its mean. The number includes all channels. A BatchNorm whose m is not in `names` stays as it is.
        """
        ...

    def create_state(
        self, main: Program, startup: Program, name: str, shape: Sequence[int], dtype: str, value: float | Parameter
    ) -> Variable:
        """A new persistable, non-trainable variable in the outermost block of `main`, whichever block is current.

        `startup` sets it to the number `value`, or to the initial value, cast to `dtype`, of the parameter `value` of the same
        shape. Raises KeyError if `startup` does not initialise that parameter.
        """
        ...

    def append_descent(self, target: Variable, gradient: Variable, rate: Variable) -> None:
        """Append `target -= rate·gradient`, in place, to the default main program: a step of SGD.

        target, gradient: float32 or float64, of one shape. gradient may be sparse. rate: 0-D, of their type.
        """
        ...

    def append_native_op(self, op: NativeOp) -> list[Variable]:
        """Append one of ppema's operations to the default main program. Returns its results, in its order."""
        ...

    def take_updates(self, main: Program, parameters: Sequence[str]) -> list[Update]:
        """Remove the optimizer's operations that update `parameters` from `main`, and return them in their order.

        If native/step.cc does not know each of them, they all stay, and the result is empty.
        """
        ...

    def append_all_reduce(self, value: Variable) -> Variable:
        """Append the sum of `value` over all ranks, in its place, to the default main program. Returns it.

        On a CPU only float32, float64 and int64 are summed right. All ranks must run it, in the same order; inside a branch, a
        rank that takes another one would pair with a later sum.
        """
        ...

    def after_branches(self, main: Program, value: Variable) -> Variable:
        """`value`, a 0-D float, computed only after every `cond` and `while_loop` that `main` holds so far.

        BatchNorm inside a branch writes its statistics. The scheduler of operations may not see that from outside.
        """
        ...

    def early_copies(self, main: Program, parameters: Sequence[Parameter]) -> list[Variable]:
        """Copies of the values of `parameters` of `main` at the start of a run, before any operation writes them.

        They also come before all operations inside the `cond` and `while_loop` that `main` holds so far.
        """
        ...

    def update_of(self, main: Program, optimizer: Any, gradients: Sequence[Gradient]) -> OptimizerUpdate:
        """What appends `optimizer`'s update to the current block of `main`, which may be that of a branch.

        It takes `gradients`, or other gradients of the same parameters. The optimizer's state, the learning rate
        included, is in the outermost block, where executors and `state_names` find it. Raises ConfigError if a gradient is
        sparse and the optimizer does not support that.
        """
        ...

    def gradient_values(self, gradient: Variable, *, merged: bool = False) -> Variable:
        """All numbers of a gradient as a dense variable: of a sparse one, as of `Embedding(sparse=True)`, those of its rows.

        merged: several parts of one row in a sparse gradient are added up.
        """
        ...

    def runner(self, executor: Any, scope: Any, program: Program, fetch: Sequence[Variable]) -> Runner:
        """A Runner of `program` on the executor's device, in `scope`, which must be current.

        Changes of the program after its first run have no effect.
        """
        ...

    def onednn_hindrance(self) -> str | None:
        """Why oneDNN cannot compute single operations on this machine, in words. None: it can, on a CPU."""
        ...

    def place_on_onednn(self, program: Program, kinds: Collection[str], fetched: Sequence[Variable]) -> Counter[str]:
        """Let oneDNN compute the operations of `program` whose kind is in `kinds`. Returns their number by kind.

        Operations in nested blocks, of a type other than float32, or with a result in `fetched` keep Paddle's kernels. The kind
        of a placed operation is "onednn_op.conv2d", and its `is_test` is None. Call `settle` before every run; results then
        differ by rounding only, and all other variables keep their layouts. The program must not have channels last, and
        `onednn_hindrance` must be None.
        """
        ...

    def channels_last(self, program: Program) -> str | None:
        """The kind of the first operation of `program` with channels last, nested blocks included. None: there is none."""
        ...

    def settle(self) -> None:
        """Reset the thread-local state that other programs may have changed, and that would change results on oneDNN."""
        ...

    def quicken(self, program: Program, fetched: Sequence[Variable]) -> Counter[str]:
        """Replace operations of `program` that Paddle computes slowly on a CPU by faster ones of the same meaning.

        Returns their number by kind. Operations in nested blocks, or with a result in `fetched`, stay as they are. Layers are
        replaced where their gradients are in `program`, by ppema's own operations if there are any.
        `onednn_hindrance` must be None.
        """
        ...

    def for_inference(
        self, program: Program, values: Sequence[Variable]
    ) -> tuple[Program, dict[str, Variable], list[Variable]]:
        """A copy of the test program `program`, without dropout that changes nothing.

        Returns the copy, the variables that it is fed, by name, and the copies of `values`. Dropout whose result is among
        `values` stays in test mode.
        """
        ...

    def without_traces(self, content: bytes) -> bytes:
        """`content` of the file of an inference program, without stack traces. These name paths of this machine."""
        ...

    def normed_products(self, program: Program, kept: Sequence[Variable]) -> list[NormedProduct]:
        """The products of the outermost block whose BatchNorm can be folded into them, in order.

        Nothing else reads the product, its parameters or the BatchNorm's shift, and none of the results is among `kept`. All
        parameters are float32, or all float64.
        """
        ...

    def fold(self, program: Program, product: NormedProduct) -> None:
        """Remove the BatchNorm of `product`, one of `normed_products`. A product without a bias then adds the shift."""
        ...

    def update_section(self, main: Program) -> AbstractContextManager[None]:
        """A context in which appended operations belong to the update of weights, not to the model."""
        ...


def dtype_name(variable: Variable) -> str:
    """numpy's name of the type of a variable's elements: "float32"."""
    return str(variable.dtype).rpartition(".")[2].lower()


def is_variable(value: Any) -> bool:
    """Whether `value` is a variable of a program. Arrays have a shape and a dtype too."""
    return hasattr(value, "stop_gradient") and hasattr(value, "shape")
