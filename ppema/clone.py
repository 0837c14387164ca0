"""clone_for_test: what `Program.clone(for_test=True)` was."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from ppema.ir import RANDOM_KINDS, Program, Variable, backend


def has_gradients(program: Program) -> bool:
    """Whether a backward pass has been appended to `program`."""
    return any(op.kind.rstrip("_").endswith("_grad") for op in backend().operations(program))


def clone_for_test(program: Program, values: Sequence[Variable] = ()) -> tuple[Program, list[Variable]]:
    """A copy of `program` with BatchNorm and dropout in test mode, and the copies in it of `values`.

    Call it on the forward program, before the optimizer's `minimize`, and fetch from the copy by the values it returns.
    Parameters are shared through the scope by their names. Blocks nested in `cond` and `while_loop` are switched as well.

    Raises ValueError when the program already holds gradients or updates: its copy would train.
    Warns for each place that draws random numbers by an operation that has no switch (Dropout2D, AlphaDropout): only a
    model built in eval mode is free of them.
    """
    ir = backend()
    if has_gradients(program):
        raise ValueError("clone_for_test comes before minimize: the program already holds gradients")
    test, copies = ir.clone(program, values)
    ir.set_test(test)
    for op in ir.operations(test):
        if op.kind in RANDOM_KINDS:
            warnings.warn(
                f"{op.source or 'the program'}: '{op.kind}' draws random numbers and has no test mode; the test program "
                "will draw them too, unless the model is built in eval mode",
                stacklevel=2,
            )
    return test, copies
