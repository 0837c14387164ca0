"""Averages that ranks share, put together. The ranks are threads of this process."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
from support.fed import SHAPES, Fed, walk
from support.moving import Moving
from support.worlds import on_ranks

from ppema.averaging.decay import Constant
from ppema.averaging.precision import rounded
from ppema.averaging.rule import Rule
from ppema.distributed import whole_arrays, world
from ppema.distributed.sharded import ShardedAverages
from ppema.errors import ConfigError, PeerError
from ppema.ir import scope
from ppema.passes.ema import UpdatePass, declare
from ppema.passes.target import TrainProgram, apply_passes
from ppema.ranks import Ranks

RULES = {"ema": Rule(Constant(0.9)), "exact": Rule(Constant(0.99), precision="compensated")}
RANKS = 3


def in_ranks(count, work):
    """What `work` returns on each rank. Raises what it raises."""
    found = on_ranks(count, work)
    for each in found:
        if isinstance(each, BaseException):
            raise each
    return found


def states(where, names):
    return {name: scope.get(where, name) for name in names}


def bits(arrays):
    return {name: (array.dtype.name, array.shape, array.tobytes()) for name, array in arrays.items()}


def kept(fed):
    """The names of all shadows and rests."""
    return [name for average in fed.averages.values() for name in (*average.shadow_of.values(), *average.rest_of.values())]


@pytest.fixture(scope="module")
def trained():
    """A program with whole averages, and one for each rank with its parts of them, after the same steps."""
    programs = [Fed(**RULES), *(Fed(ranks=Ranks(rank, RANKS), **RULES) for rank in range(RANKS))]
    for values in walk(2, 5):
        values["large"][0, 0] = (-0.0, np.nan, np.inf)
        for each in programs:
            each.step(values)
    return programs


@pytest.fixture(params=["one group", "small groups and sums"])
def groups(request, monkeypatch):
    """The number of elements in each sum."""
    if request.param == "one group":
        return {512}  # for 326 + 1 + 1 words
    monkeypatch.setattr(whole_arrays, "_TOGETHER", 8)
    monkeypatch.setattr(world, "_AT_ONCE", 128)
    return {1, 128}


def test_the_whole_state_is_that_of_an_average_that_no_rank_shares(trained, groups):
    whole, *parts = trained

    def work(each):
        fed = parts[each.ranks.rank]
        shared = ShardedAverages(each, fed.scope, fed.averages)
        return {name: {held: array.copy() for held, array in shared.whole(name)} for name in RULES}, set(each.sums)

    for found, sums in in_ranks(RANKS, work):
        assert sums == groups
        for name, average in whole.averages.items():
            assert bits(found[name]) == bits(states(whole.scope, [*average.shadow_of.values(), *average.rest_of.values()]))


def test_each_rank_gets_its_part_of_a_state_that_the_first_one_read(trained, groups):
    whole, *parts = trained
    held = [bits(states(fed.scope, [name for name in kept(whole) if not scope.missing(fed.scope, [name])])) for fed in parts]

    def work(each):
        fed = parts[each.ranks.rank]
        shared = ShardedAverages(each, fed.scope, fed.averages)
        shared.hand_out()
        assert bits(states(fed.scope, held[each.ranks.rank])) == held[each.ranks.rank]
        scope.put(fed.scope, {name: np.zeros_like(scope.get(fed.scope, name)) for name in held[each.ranks.rank]})
        if each.first:
            state = states(whole.scope, [each for average in whole.averages.values() for each in average.state_names])
            others = shared.keep(state)
            assert others.keys() == {each for average in whole.averages.values() for each in (average.count, average.weight)}
            assert not shared.finite("large.ema")
        shared.hand_out()
        return bits(states(fed.scope, held[each.ranks.rank]))

    assert in_ranks(RANKS, work) == held


@pytest.mark.parametrize("error", [None, ConfigError.of("wrong"), PeerError("rank 1 failed")])
def test_raw_weights_come_back_bit_for_bit(trained, error):
    whole, *parts = trained
    for fed in trained:
        scope.put(fed.scope, {name: scope.get(whole.scope, name) for name in SHAPES})
    raw = bits(states(whole.scope, SHAPES))
    average = {name: (*raw[name][:2], scope.get(whole.scope, f"{name}.ema").tobytes()) for name in SHAPES}

    def work(each):
        fed = parts[each.ranks.rank]
        shared = ShardedAverages(each, fed.scope, fed.averages)
        with nullcontext() if error is None else pytest.raises(type(error), match=str(error)), shared.in_place("ema"):
            with shared.in_place("raw"):
                assert bits(states(fed.scope, SHAPES)) == average
            if error is not None:
                raise error
        return bits(states(fed.scope, SHAPES))

    # After the failure of another rank nothing is exchanged any more.
    expected = average if isinstance(error, PeerError) else raw
    assert in_ranks(RANKS, work) == [expected] * RANKS


def test_half_weights_hold_the_rounded_average():
    programs = [Moving("bfloat16") for _ in range(2)]
    averages = []
    for rank, program in enumerate(programs):
        program.move()
        target = TrainProgram(program.main, program.startup)
        with program.guard():
            declare(target, "whole", Rule(Constant(0.7)), target.parameters)
            declare(target, "ema", Rule(Constant(0.7)), target.parameters, ranks=Ranks(rank, 2))
            apply_passes(target, [UpdatePass()])
        averages.append(target.averages)
        program.start()
        for by in (0.25, 0.3, 1.7):
            program.step(by)
    raw = [scope.get(programs[0].scope, name).tobytes() for name in ("w", "b")]

    def work(each):
        program = programs[each.ranks.rank]
        shared = ShardedAverages(each, program.scope, averages[each.ranks.rank])
        with shared.in_place("ema"), shared.in_place("whole"):
            found = [scope.get(program.scope, name).tobytes() for name in ("w", "b")]
        return found, [scope.get(program.scope, name).tobytes() for name in ("w", "b")]

    w, b = (scope.get(programs[0].scope, f"{name}.whole") for name in ("w", "b"))
    assert in_ranks(2, work) == [([rounded(w, "bfloat16").tobytes(), b.tobytes()], raw)] * 2
