"""An average that several ranks share, against the whole average, bit for bit. One process runs the program of each rank."""

from __future__ import annotations

import numpy as np
import pytest
from support.fed import SHAPES, Fed, walk
from support.moving import Moving

from ppema.averaging.decay import Constant, ThresSteps
from ppema.averaging.rule import Rule
from ppema.errors import AverageError
from ppema.ir import scope
from ppema.passes.ema import UpdatePass, declare
from ppema.passes.target import TrainProgram, apply_passes
from ppema.ranks import Ranks

pytestmark = pytest.mark.usefixtures("kernels")

RULES = {
    "ema": Rule(ThresSteps(0.9)),
    "seldom": Rule(Constant(0.999), start=4, update_every=3),
    "exact": Rule(Constant(0.99999), precision="compensated"),
}


def assembled(scopes, variable):
    """The bytes of an array of an average, from the pieces of it that the ranks hold, in their order."""
    return b"".join(scope.get(each, variable).tobytes() for each in scopes if not scope.missing(each, [variable]))


@pytest.mark.parametrize("ranks", [2, 3])
def test_the_pieces_of_all_ranks_are_the_whole_average_bit_for_bit(ranks):
    whole = Fed(**RULES)
    shared = [Fed(ranks=Ranks(rank, ranks), **RULES) for rank in range(ranks)]
    for values in walk(1, 20):
        for fed in (whole, *shared):
            fed.step(values)
    for name, average in whole.averages.items():
        for variable in (*average.shadow_of.values(), *average.rest_of.values()):
            expected = scope.get(whole.scope, variable)
            assert expected.any()
            assert assembled([fed.scope for fed in shared], variable) == expected.tobytes(), variable
        for variable in (average.count, average.weight):
            expected = scope.get(whole.scope, variable)
            assert [scope.get(fed.scope, variable) for fed in shared] == [expected] * ranks
        held = [sum(np.prod(each.shape) for each in fed.averages[name].shadows.values()) for fed in shared]
        assert max(held) - min(held) <= 1
        assert sum(held) == sum(np.prod(shape) for shape in SHAPES.values())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_pieces_of_weights_of_other_types_are_found(dtype):
    """Three ranks cut both weights. A whole average of the same weights is in the same operation."""
    programs = [Moving(dtype) for _ in range(3)]
    for rank, program in enumerate(programs):
        program.move()
        target = TrainProgram(program.main, program.startup, when=program.flag)
        with program.guard():
            declare(target, "whole", Rule(Constant(0.7)), target.parameters)
            average = declare(target, "shared", Rule(Constant(0.7)), target.parameters, ranks=Ranks(rank, 3))
            apply_passes(target, [UpdatePass()])
        assert average.cuts
        program.start()
        for by in (0.25, 0.3, 1.7):
            program.step(by)
    scopes = [program.scope for program in programs]
    for weight in ("w", "b"):
        assert assembled(scopes, f"{weight}.shared") == scope.get(scopes[0], f"{weight}.whole").tobytes()
    before = assembled(scopes, "w.shared")
    for program in programs:
        program.run(program.main, by=1.0, flag=False)
    assert assembled(scopes, "w.shared") == before


def test_an_average_of_fewer_numbers_than_ranks_is_refused():
    with pytest.raises(AverageError, match="the average 'ema' covers fewer numbers than there are ranks, 654: do not shard it"):
        Fed(ranks=Ranks(0, 654), ema=RULES["ema"])
