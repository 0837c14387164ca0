"""What programs consist of, as the seam describes it on both versions of Paddle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Program = Any  # paddle.static.Program
Variable = Any  # a variable of one program, as paddle's layers return it in static mode
Gradient = tuple[Variable, Variable]  # a trained parameter and the gradient of the loss by it


@dataclass(frozen=True)
class Parameter:
    """One parameter or statistic of a program.

    name: name of its variable in the scope. shape: its dimensions. dtype: numpy's name of its type ("float32").
    trainable: False for BatchNorm's running mean and variance, and for weights that `stop_gradient = True` or
    `trainable = False` freezes.
    averaged: False for `ParamAttr(do_model_average=False)`, and for integers such as counters.
    variable: its variable in the program.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    trainable: bool
    averaged: bool
    variable: Variable


@dataclass(frozen=True)
class Operation:
    """The description of one operation of a program, in any block.

    kind: Paddle's name of the operation without prefix; it differs between versions ("batch_norm_", "batch_norm").
    is_test: its switch between training and test mode, None if it has none.
    reads: names of the persistable variables among its operands.
    writes: names of the persistable variables that it writes, or may write if that is not known. An operation with nested
    blocks does not list their writes, since the operations inside have their own descriptions.
    trains: names of the variables that it updates by their gradients, as an optimizer's operation does.
    depth: nesting depth of its block, 0 for the outermost.
    source: "file:line" of the user's code that built it, "" if unknown.
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
    """The `is_test` switches of a program's operations before `set_test` turned them on, for `reset_test`."""

    __test__ = False  # the name is not meant for pytest
    before: tuple[tuple[Any, bool], ...]


@dataclass(frozen=True)
class NativeOp:
    """One of ppema's own operations; the file of its `kind` in native/ describes it. Mappings are in the operation's order.

    results: shapes and types by name; empty if it writes inputs. written: names of the inputs that it updates in place.
    """

    kind: str
    inputs: Mapping[str, Sequence[Variable]]
    results: Mapping[str, tuple[list[int], str]] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    written: Sequence[str] = ()


@dataclass(frozen=True)
class NormedProduct:
    """A convolution or matrix product of a test program, whose result only a BatchNorm reads.

    kind: of the product, as in `Operation`. weight, bias: names of its parameters; None: it has no bias.
    transposed: whether the weight is [input channels, output channels / groups, ...], not [output channels, ...].
    mean, variance, scale, shift, epsilon: of the BatchNorm. scale None: 1; shift None: 0. One of bias and shift is there.
    operations: the product, the sum with its bias (or None), and the BatchNorm.
    """

    kind: str
    weight: str
    bias: str | None
    transposed: bool
    groups: int
    mean: str
    variance: str
    scale: str | None
    shift: str | None
    epsilon: float
    operations: tuple[Any, Any, Any]
