"""clone_for_test: a test program from a forward program, in place of `Program.clone(for_test=True)`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from ppema.ir import Program, Variable, backend, draws_random_numbers
from ppema.passes.trained import is_trained


def clone_for_test(program: Program, values: Sequence[Variable] = ()) -> tuple[Program, list[Variable]]:
    """A copy of `program` with BatchNorm and dropout in test mode, and the copies of `values` in it.

    Call it on the forward program, before the optimizer's `minimize`. Fetch from the copy by the values that it returns.
    The copy and the program share parameters through the scope, by name. A copy of the train program's forward program
    therefore reads the trained weights. A copy of another program reads only those whose names are the same. Test mode includes
    the nested blocks of `cond` and `while_loop`.

    Raises ValueError if the program already updates its weights: the copy would train.
    Warns for each operation that has no test mode and draws random numbers (Dropout2D, AlphaDropout) or changes a variable of
    the scope (BatchNorm with use_global_stats=False, counters). Only a model built in eval mode is free of them.
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
