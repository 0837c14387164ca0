"""clone_for_test: what `Program.clone(for_test=True)` was."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from ppema.ir import Program, Variable, backend, draws_random_numbers
from ppema.passes.trained import is_trained


def clone_for_test(program: Program, values: Sequence[Variable] = ()) -> tuple[Program, list[Variable]]:
    """A copy of `program` with BatchNorm and dropout in test mode, and the copies in it of `values`.

    Call it on the forward program, before the optimizer's `minimize`, and fetch from the copy by the values it returns.
    Parameters are shared through the scope by their names: a copy of the forward program that is trained reads the trained
    weights, a copy of another program only those that have the same names there. Blocks nested in `cond` and `while_loop` are
    switched as well.

    Raises ValueError when the program already updates its weights: its copy would train.
    Warns for each operation that would still draw random numbers (Dropout2D, AlphaDropout) or change a variable of the scope
    (BatchNorm with use_global_stats=False, counters): only a model built in eval mode is free of them.
    """
    ir = backend()
    if is_trained(program):
        raise ValueError("clone_for_test comes before minimize: the program already updates its weights")
    test, copies = ir.clone(program, values)
    ir.set_test(test)
    for op in ir.operations(test):
        if draws_random_numbers(op) or op.writes:
            does = f"changes {op.writes[0]}" if op.writes else "draws random numbers"
            warnings.warn(
                f"{op.source or 'the program'}: '{op.kind}' {does} and has no test mode; the test program will do so too, "
                "unless the model is built in eval mode",
                stacklevel=2,
            )
    return test, copies
