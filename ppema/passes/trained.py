"""Which parameters of a program are trained, and whether their marks agree."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

from ppema.errors import AverageError, listed
from ppema.ir import Operation, Parameter, Program, Variable, backend


def is_trained(program: Program) -> bool:
    """Whether an operation of `program` updates its weights, as an optimizer's `minimize` makes it do."""
    return _any_trains(backend().operations(program), backend().parameters(program))


def check_trained(main: Program, when: Variable | None) -> None:
    """Check that the update of an average can be appended to the train program `main`. when: as `TrainProgram.when`.

    Raises AverageError if no operation updates a weight yet, and if an optimizer trains a parameter marked `trainable = False`.
    Paddle 3.3 ignores every mark that is set after creation; Paddle 2.6 does so for an optimizer with given `parameters`.
    Warns if an optimizer's operation is inside a branch, as with GradientMergeOptimizer, and `when` is None.
    """
    operations, parameters = list(backend().operations(main)), backend().parameters(main)
    if not _any_trains(operations, parameters):
        raise AverageError(
            "update() comes after minimize: no operation of the default main program trains a weight yet, so a run would "
            "average the former weights"
        )
    trained = {name for op in operations for name in op.trains}
    marked = [parameter.name for parameter in parameters if parameter.name in trained and not parameter.trainable]
    if marked:
        raise AverageError(
            f"minimize trains {listed(marked)} in spite of trainable = False, which Paddle does not heed here: set "
            "stop_gradient = True before minimize to freeze a parameter, or trainable = True where it is to be trained"
        )
    if when is None and any(op.trains and op.depth for op in operations):
        warnings.warn(
            "minimize trains inside a branch, so some runs are no step, but the average counts each run: give update(when=...) "
            "the branch's condition (that of GradientMergeOptimizer is the variable 'gradient_merge_cond')",
            stacklevel=4,
        )


def _any_trains(operations: Iterable[Operation], parameters: Sequence[Parameter]) -> bool:
    """Whether one of `operations` is an optimizer's, or writes a trainable parameter, as a hand-written update does."""
    names, trainable = {p.name for p in parameters}, {p.name for p in parameters if p.trainable}
    return any(not (names.isdisjoint(op.trains) and trainable.isdisjoint(op.writes)) for op in operations)
