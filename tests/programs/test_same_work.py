"""Ranks that are called with other arguments, or another config, do not share a work: they would mix up the results."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.configs import loader
from support.worlds import on_ranks

from ppema.errors import SetupError
from ppema.evaluation.stored import evaluate_stored
from ppema.posthoc.request import request_of
from ppema.posthoc.search import average
from ppema.prediction.predict import Predicting
from ppema.programs.model.shared_config import completed
from ppema.weights.stored_weights import weights_facts

EVALUATED = [
    ({"weights": "raw"}, "weights differs between the ranks: it is None on rank 0 and raw on rank 1"),
    ({"weights": "b/x.safetensors"}, "weights differs between the ranks: it is None on rank 0 and x.safetensors on rank 1"),
    ({"checkpoint": "best"}, "checkpoint differs between the ranks: it is None on rank 0 and best on rank 1"),
    ({"checkpoint": "a/best"}, "checkpoint differs between the ranks: it is None on rank 0 and .../best on rank 1"),
    (
        {"batch_norm": "all", "recalibrate_batches": 3},
        "batch_norm differs between the ranks: it is None on rank 0 and all on rank 1",
    ),
]
PREDICTED = [
    ({"weights": "raw"}, "weights differs between the ranks: it is None on rank 0 and raw on rank 1"),
    ({"checkpoint": "best"}, "checkpoint differs between the ranks: it is None on rank 0 and best on rank 1"),
    ({"batch_size": 3}, "batch_size differs between the ranks: it is None on rank 0 and 3 on rank 1"),
    ({"on_error": "skip"}, "on_error differs between the ranks: it is stop on rank 0 and skip on rank 1"),
]
GIVEN = {"half_life": "1 epochs"}
BUILT = [
    ({"half_life": "2 epochs"}, "half_life differs between the ranks: it is 1 epochs on rank 0 and 2 epochs on rank 1"),
    ({"last_checkpoints": 2}, "half_life differs between the ranks: it is 1 epochs on rank 0 and None on rank 1"),
    ({**GIVEN, "step": 3}, "step differs between the ranks: it is None on rank 0 and 3 on rank 1"),
    ({**GIVEN, "name": "a"}, "name differs between the ranks: it is None on rank 0 and a on rank 1"),
]
SEARCHED = {"search": "grid", "over": "half_life", "between": "1 epochs, 2 epochs", "points": 3}
REMEDY = "; call this with the same arguments on all ranks"


def differing(call, first, other):
    """The error of both ranks, of which rank 1 is called with `other`."""
    found = on_ranks(2, lambda world: call(world, first if world.first else other))
    assert isinstance(found[0], SetupError) and str(found[0]) == str(found[1])
    return str(found[0])


@pytest.mark.parametrize(("other", "said"), EVALUATED)
def test_an_evaluation_of_other_weights_on_one_rank_is_refused(tmp_path, other, said):
    config = loader(tmp_path)()
    assert differing(lambda world, given: evaluate_stored(config, **given, world=world), {}, other) == said + REMEDY


@pytest.mark.parametrize(("other", "said"), PREDICTED)
def test_predictions_with_other_arguments_on_one_rank_are_refused(tmp_path, other, said):
    config = loader(tmp_path)()
    line = differing(lambda world, given: Predicting(config, "data.eval", **given, world=world), {}, other)
    assert line == said + REMEDY


@pytest.mark.parametrize(("other", "said"), BUILT)
def test_other_averages_on_one_rank_are_refused(tmp_path, other, said):
    config = loader(tmp_path)()
    line = differing(lambda world, given: average(config, request_of(**given), world=world), GIVEN, other)
    assert line == said + REMEDY


@pytest.mark.parametrize("given", [GIVEN, {"sigma_rel": "0.1,0.2"}, {"last_checkpoints": 2}, SEARCHED], ids=str)
def test_the_compared_arguments_of_an_average_make_the_same_request(given):
    request = request_of(**given)
    assert given.items() <= request.arguments.items() and request_of(**request.arguments) == request


def test_paths_that_rank_0_alone_reads_may_have_other_folders():
    assert weights_facts("a/x.safetensors", "a/run/step-3") == weights_facts(Path("/b/x.safetensors"), Path("/b/run/step-3/"))
    assert weights_facts("a/exported", None) != weights_facts("b/exported", None)  # each rank reads it


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
    assert line.startswith("metrics differs between the ranks: it is ")
    assert line.endswith(" on rank 1; all of them need the same config, data, ppema and Paddle")
