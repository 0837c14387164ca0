"""The model of docs/scale.md: its tables are those that its script computes, and its sizes are those of programs."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location

import numpy as np
import pytest
from support.pages import PAGES, ROOT

from benchmarks import ema
from benchmarks.parallel_side import CASES
from ppema.training.parallel.traffic import traffic_of
from ppema.training.setup import prepare_training

_SPEC = spec_from_file_location("scale_model", ROOT / "docs/experiments/scale_model.py")
assert _SPEC is not None
assert _SPEC.loader is not None
model = sys.modules["scale_model"] = module_from_spec(_SPEC)
_SPEC.loader.exec_module(model)


@pytest.mark.parametrize("table", model.TABLES, ids=lambda each: each.__name__)
def test_the_page_has_the_tables_of_its_script(table):
    assert table() in PAGES["docs/scale.md"]


@pytest.mark.parametrize(("case", "of"), [("digits", model.DIGITS), ("resnet18-32", model.RESNET18)])
def test_the_sizes_are_those_that_ranks_sum(case, of):
    run = prepare_training(CASES[case].config(1))
    reduction = traffic_of(run).reduction
    run.close()
    assert reduction is not None
    assert reduction.size == of.size
    assert reduction.buckets >= of.buckets  # on a CPU, large gradients are buckets of their own


def test_the_size_of_resnet50():
    """Of the vectors one is the bias of 1,000 classes. Of the others half are BatchNorm's statistics."""
    shapes = ema.tensors()
    statistics = (sum(shape[0] for shape in shapes if len(shape) == 1) - 1000) // 2
    assert model.RESNET50.statistics == statistics
    assert model.RESNET50.trained == sum(int(np.prod(shape)) for shape in shapes) - statistics


def test_a_ring_sends_what_the_formula_says():
    """A ring of 4 ranks, step by step: each sends one of 4 parts to the next one, 3 times to add up, 3 times to hand round."""
    ranks, rng = 4, np.random.default_rng(0)
    given = rng.normal(size=(ranks, ranks, 5))  # rank, part, numbers
    held, sent = given.copy(), np.zeros(ranks)
    for turn in range(2 * (ranks - 1)):
        moving = [(rank, (rank - turn) % ranks) for rank in range(ranks)]
        copies = [held[rank, part].copy() for rank, part in moving]
        for (rank, part), numbers in zip(moving, copies, strict=True):
            after = (rank + 1) % ranks
            held[after, part] = numbers + (held[after, part] if turn < ranks - 1 else 0)
            sent[rank] += numbers.nbytes
    np.testing.assert_allclose(held, np.broadcast_to(given.sum(0), held.shape))
    assert sent.tolist() == [model.sent_ring(given[0].nbytes, ranks)] * ranks
    link = model.Link("", 1.0, 0.1, 100.0)
    assert link.ring(given[0].nbytes, ranks, 2) == pytest.approx(2 * (1.0 + 6 * 0.1) + 1.5 * 160 / 100)
    assert link.tree(given[0].nbytes, ranks, 2) == pytest.approx(2 * (1.0 + 4 * 0.1) + 2 * 160 / 100)


def test_what_an_overlap_leaves():
    """5 buckets of 2 ms each: a backward pass of 20 ms hides all but the last one, one of 5 ms hides 4 ms."""
    work = model.Model("", model.BUCKET // 4 * 5 - model.SIGNALS, 0)
    assert work.buckets == 5
    assert model.left_over(10e-3, work, 20e-3) == pytest.approx(2e-3)
    assert model.left_over(10e-3, work, 5e-3) == pytest.approx(6e-3)
