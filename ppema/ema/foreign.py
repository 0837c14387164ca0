"""A check that a test program reads the train program's parameters."""

from __future__ import annotations

from collections.abc import Sequence

from ppema.errors import AverageError, listed
from ppema.ir import Parameter, Program, backend


def check_test_program(test: Program, train: Sequence[Parameter]) -> None:
    """Check that the test program `test` reads the trained weights.

    train: the parameters of the train program. The two programs share variables of the scope by name. `test` may lack some of
    them. It may have other parameters if they are frozen, such as those of a teacher or of a metric's network.

    Raises AverageError if `test` has a trainable parameter, or BatchNorm statistics, that the train program lacks, and if a
    parameter's shape or type differs.
    """
    ours = {parameter.name: parameter for parameter in train}
    parameters = backend().parameters(test)
    for each in parameters:
        here, there = _form(each), _form(ours.get(each.name, each))
        if here != there:
            raise AverageError(
                f"the test program has {each.name!r} as {here}, the train program as {there}: build both from the same model"
            )
    others = [parameter for parameter in parameters if parameter.name not in ours]
    frozen = {parameter.name for parameter in others if not parameter.trainable}
    moving = statistics_of_trained(test, frozen)
    untrained = [parameter.name for parameter in others if parameter.trainable or parameter.name in moving]
    if untrained:
        raise AverageError(
            f"the test program reads {listed(untrained)}, which the train program does not have and nothing trains: make it "
            "with ppema.clone_for_test, or give its layers the names that they have in training (on Paddle 3, paddle.static.nn "
            "counts on from program to program); weights that are not to be trained need stop_gradient = True"
        )


def statistics_of_trained(program: Program, frozen: set[str]) -> set[str]:
    """The names in `frozen` of statistics whose BatchNorm in `program` also reads a weight or bias outside `frozen`.

    Paddle marks all statistics as frozen, so the mark of a statistic does not show whether its layer is trained.
    """
    if not frozen:
        return set()
    norms = [set(op.reads) for op in backend().operations(program) if "batch_norm" in op.kind]
    return {name for reads in norms if not reads <= frozen for name in reads & frozen}


def _form(parameter: Parameter) -> str:
    return f"{list(parameter.shape)} {parameter.dtype}"
