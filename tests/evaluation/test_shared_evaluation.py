"""Evaluations and recalibrations that several ranks share: the figures, statistics and errors of one process, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import paddle
import pytest
from support.configs import CNN, blobs, data_section, loader
from support.worlds import on_ranks

from ppema.config import RAW
from ppema.data import GivenUp, Loader
from ppema.errors import ConfigError, DataError, NotFiniteError, PeerError, TrainingError
from ppema.evaluation.evaluate import evaluate
from ppema.evaluation.prepared import prepare_evaluation
from ppema.evaluation.recalibrator import Recalibrator
from ppema.ir import scope
from ppema.programs.executor import FailedBatchError
from ppema.programs.loaders import train_loader

# 11 batches, the last one of 2 samples; 7 whole batches of training data, and a rest.
BATCHES = 11
DATA = data_section(blobs("samples: 60, batch_size: 8, noise: 4"), blobs("samples: 52, batch_size: 5, noise: 4", "test"))
METRICS = "[accuracy, auc, confusion_matrix, {name: f1, args: {average: none}}, {name: support.metrics.HitsOf, args: {of: 1}}]"
STATISTICS = ("batch_norm2d_0.w_1", "batch_norm2d_0.w_2")


def prepared(folder, metrics):
    """An evaluation on Paddle's own kernels: ranks are threads here, and oneDNN's layout of a program is that of its thread."""
    return prepare_evaluation(loader(folder, CNN, data=DATA, metrics=metrics)("runtime.onednn=off"))


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A function that returns the run: a report of pytest on a failure would otherwise show its programs."""
    made = prepared(tmp_path_factory.mktemp("shared"), METRICS)
    with paddle.static.scope_guard(made.scope):
        yield lambda: made
    made.close()


def evaluated(run, world, **options):
    """Each rank has a loader of its own, as each process has."""
    loader = run.eval_loader.twin(drop_last=False)
    return evaluate(run.executor, run.model.test, run.model.inputs, loader, world=world, **options)


def test_figures_are_those_of_one_process_for_any_number_of_ranks(opened):
    run = opened()
    alone = evaluate(run.executor, run.model.test, run.model.inputs, run.eval_loader)
    assert len(alone) == 9 and 0 < alone["accuracy"] < 1
    for size in (2, 3, 4, BATCHES + 2):
        assert [repr(each) for each in on_ranks(size, lambda world: evaluated(run, world))] == [repr(alone)] * size


def test_each_rank_records_its_batches_and_counts_those_of_all(opened):
    run = opened()

    def work(world):
        recorded, counted = [], []
        evaluated(run, world, record=lambda batch, values: recorded.append(batch), watch=lambda *both: counted.append(both))
        return [batch.number for batch in recorded], [len(batch.indices) for batch in recorded], counted

    found = on_ranks(4, work)
    assert [numbers for numbers, _, _ in found] == [[0, 4, 8], [1, 5, 9], [2, 6, 10], [3, 7]]
    assert found[2][1] == [5, 5, 2]
    assert found[0][2] == [(4, 11), (8, 11), (11, 11)]


def test_each_batch_has_a_limit_but_for_the_first_run_of_the_program(opened):
    run = opened()

    def entered(world, work, *given):
        work(run, world, *given)
        return world.entered

    batches = ["reading batch 1", "reading batch 5", "using batch 5", "reading batch 9", "using batch 9", "reading batch 13"]
    assert on_ranks(4, lambda world: entered(world, evaluated))[1] == [f"{each} of the evaluation" for each in batches]
    found = on_ranks(4, lambda world: entered(world, recalibrated, 50))[1]
    assert found == [f"{each} of the recalibration" for each in (*batches[:3], batches[3])]


@pytest.mark.parametrize("what", ["evaluation", "recalibration"])
def test_after_a_fault_of_another_rank_no_sample_is_waited_for(opened, monkeypatch, what):
    run, abandoned = opened(), []
    abandon = Loader.abandon
    monkeypatch.setattr(Loader, "abandon", lambda self: (abandoned.append(self.label), abandon(self)))

    def work(world):
        def enter(activity, sort="alone"):
            if activity in (f"reading batch 2 of the {what}", f"reading batch 3 of the {what}"):
                raise PeerError("rank 1 was killed", 1)

        world.enter = enter
        return evaluated(run, world) if what == "evaluation" else recalibrated(run, world, 50)

    assert [str(each) for each in on_ranks(2, work)] == ["rank 1 was killed"] * 2
    assert abandoned == [{"evaluation": "data.eval", "recalibration": "data.train"}[what]] * 2


def failing(run, at, error):
    """`run` whose executor raises `error` at the batch `at`, and a later one at all batches after it."""

    def feed(batch, loader):
        if batch.number == at:
            raise error
        if batch.number > at:
            raise TrainingError("later")
        return run.model.inputs.feed(batch, loader)

    inputs = type("Failing", (), {"feed": staticmethod(feed)})()
    return replace(run, model=replace(run.model, inputs=inputs))


@pytest.mark.parametrize("error", [DataError("bad"), TrainingError("token"), ConfigError.of("no", "args"), GivenUp()])
def test_the_error_of_one_batch_is_that_of_all_ranks(opened, error):
    run = opened()
    error.__cause__ = ValueError()  # an operation refuses its inputs, for TrainingError
    for at in (0, 5, BATCHES - 1):
        alone, *found = (
            each for size in (1, 3) for each in on_ranks(size, lambda world, at=at: evaluated(failing(run, at, error), world))
        )
        assert type(alone) is (FailedBatchError if isinstance(error, TrainingError) else type(error))
        assert [type(each) for each in found] == [type(alone)] * 3
        assert {str(each) for each in found} == {str(alone)}


def test_a_metric_that_fails_on_the_whole_set_fails_on_all_ranks(tmp_path):
    made = prepared(tmp_path, "[support.metrics.FewOnly]")
    with paddle.static.scope_guard(made.scope):
        found = on_ranks(2, lambda world: evaluated(made, world))
    assert [type(each) for each in found] == [ConfigError] * 2
    assert {str(each).partition(" (")[0] for each in found} == {"FewOnly: ValueError: too many"}


def recalibrated(run, world, batches, warn=lambda line: None, poison=()):
    """The number of batches and the statistics, both of which start from values of their own on each rank."""
    training = train_loader(run.config, run.eval_loader)
    alone = run.recalibrator(batches)
    wanted = alone._wanted
    alone.close()
    made = Recalibrator(run.executor, run.scope, run.model.inputs, training, wanted, world)
    inner = made._inputs

    def feed(batch, loader):
        arrays = inner.feed(batch, loader)
        if batch.number in poison:
            arrays = {name: np.full_like(array, np.nan) if array.dtype.kind == "f" else array for name, array in arrays.items()}
        return arrays

    made._inputs = type("Poisoned", (), {"feed": staticmethod(feed)})()
    try:
        return made.measure(RAW, warn), [scope.get(run.scope, name).tobytes() for name in STATISTICS]
    finally:
        made.close()
        training.close()


@pytest.mark.parametrize(("batches", "poison"), [(50, ()), (2, ()), (50, (1, 2))])
def test_statistics_are_those_of_one_process(opened, batches, poison):
    run = opened()
    said = []
    alone = recalibrated(run, on_ranks(1, lambda world: world)[0], batches, said.append, poison)
    assert alone[0] == min(batches, 7) - len(poison)
    for size in (2, 3, 9):
        lines = [[] for _ in range(size)]
        found = on_ranks(
            size, lambda world, lines=lines: recalibrated(run, world, batches, lines[world.ranks.rank].append, poison)
        )
        assert found == [alone] * size
        assert lines == [said] * size
    if poison:
        assert said == [f"the recalibration of 'raw' leaves out 2 of 7 batches: in batch 1 {STATISTICS[0]} is not finite"]


def test_batches_that_are_all_left_out_fail_on_all_ranks_and_statistics_stay(opened):
    run = opened()
    before = [scope.get(run.scope, name).tobytes() for name in STATISTICS]
    found = on_ranks(3, lambda world: recalibrated(run, world, 50, poison=range(7)))
    assert [str(each) for each in found] == [str(found[0])] * 3 and isinstance(found[0], NotFiniteError)
    assert [scope.get(run.scope, name).tobytes() for name in STATISTICS] == before
