"""Ranks that are called with other arguments, or another config, do not share a work: they would mix up the results."""

from __future__ import annotations

import pytest
from support.configs import loader
from support.worlds import on_ranks

from ppema.errors import SetupError
from ppema.evaluation.stored import evaluate_stored
from ppema.posthoc.request import request_of
from ppema.posthoc.search import average
from ppema.prediction.predict import Predicting
from ppema.programs.model.shared_config import completed

EVALUATED = [
    {"weights": "raw"},
    {"weights": "ema"},
    {"checkpoint": "best"},
    {"batch_norm": "all", "recalibrate_batches": 3},
]
PREDICTED = [{"weights": "raw"}, {"checkpoint": "best"}, {"batch_size": 3}, {"on_error": "skip"}]
BUILT = [{"half_life": "1 epochs"}, {"half_life": "2 epochs"}, {"last_checkpoints": 2}, {"half_life": "1 epochs", "step": 3}]


def differing(call, first, other):
    """The error of both ranks, of which rank 1 is called with `other`."""
    found = on_ranks(2, lambda world: call(world, first if world.first else other))
    assert isinstance(found[0], SetupError) and str(found[0]) == str(found[1])
    return str(found[0])


@pytest.mark.parametrize("other", EVALUATED, ids=str)
def test_an_evaluation_of_other_weights_on_one_rank_is_refused(tmp_path, other):
    config = loader(tmp_path)()
    line = differing(lambda world, given: evaluate_stored(config, **given, world=world), {}, other)
    name, value = next(iter(other.items()))
    assert line.startswith(f"{name} differs between the ranks: it is None on rank 0 and {value} on rank 1")


@pytest.mark.parametrize("other", PREDICTED, ids=str)
def test_predictions_with_other_arguments_on_one_rank_are_refused(tmp_path, other):
    config = loader(tmp_path)()
    line = differing(lambda world, given: Predicting(config, "data.eval", **given, world=world), {}, other)
    assert line.startswith(f"{next(iter(other))} differs between the ranks: it is ")


@pytest.mark.parametrize("other", BUILT[1:], ids=str)
def test_other_averages_on_one_rank_are_refused(tmp_path, other):
    config = loader(tmp_path)()
    line = differing(lambda world, given: average(config, request_of(**given), world=world), BUILT[0], other)
    assert "differs between the ranks: it is " in line


def test_a_fault_after_the_config_is_complete_is_one_of_the_building(tmp_path):
    config = loader(tmp_path)()

    def last(world):
        said = []
        world.enter = lambda activity, sort: said.append((activity, sort))
        completed(world, config, lambda given: given)
        return said[-1]

    assert on_ranks(2, last) == [("opening the data and building the programs", "slow")] * 2


def test_an_evaluation_by_another_config_on_one_rank_is_refused(tmp_path):
    config = loader(tmp_path)
    line = differing(lambda world, given: evaluate_stored(given, world=world), config(), config("metrics=[top5]"))
    assert line.startswith("metrics differs between the ranks")
