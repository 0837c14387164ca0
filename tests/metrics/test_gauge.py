"""Metrics of one's own: what they may return, and one line for everything else. Merging over batches and processes."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from ppema.errors import ConfigError
from ppema.metrics import BatchMean, Counts, Gathered, Gauge, Kept, Metric, mean_result, place


class Own(Metric):
    """A metric whose statistics and result are given."""

    def __init__(self, statistics, result=lambda found: 0.0):
        self._statistics = statistics
        self._result = result

    def statistics(self, predictions, targets):
        return self._statistics(predictions, targets)

    def result(self, found):
        return self._result(found)


def placed(statistics):
    with paddle.static.program_guard(paddle.static.Program(), paddle.static.Program()):
        feeds = paddle.static.data("p", [-1, 3], "float32"), paddle.static.data("t", [-1], "int64")
        return place("own", Own(statistics), *feeds)


@pytest.mark.parametrize(
    ("statistics", "said"),
    [
        (lambda p, t: None, "own: statistics returns a NoneType: expected a mapping of names to Counts or Kept"),
        (lambda p, t: {}, "own: statistics returns an empty mapping: expected a mapping of names to Counts or Kept"),
        (lambda p, t: {"a": p}, "own: the statistic 'a' is a .*: expected Counts or Kept"),
        (lambda p, t: {"a": Kept(3)}, "own: the statistic 'a' holds a int: expected a variable"),
        (
            lambda p, t: {"a": Counts(p)},
            r"the statistic 'a' is float32 \[N, 3\]: Counts are integers; cast them, or use Kept",
        ),
        (lambda p, t: {"a": Counts(t)}, r"own: the statistic 'a' is int64 \[N\]: the counts of a batch have a known shape"),
        (
            lambda p, t: {"a": Kept(p.sum(axis=0))},
            r"the statistic 'a' is float32 \[3\]: the first axis of Kept values is the",
        ),
    ],
)
def test_statistics_that_can_not_be_used_are_one_line(statistics, said):
    with pytest.raises(ConfigError, match=said):
        placed(statistics)


def test_counts_may_be_of_any_integer_type():
    with paddle.static.program_guard(paddle.static.Program(), paddle.static.Program()):
        for kind in ("int32", "int64", "bool"):
            value = paddle.ones([2], kind)
            (found,) = place("own", Own(lambda p, t, value=value: {"a": Counts(value)}), None, None).variables
            assert found.dtype == paddle.int64


def gauge(result, **statistics):
    return Gauge("own", {name: kind(None) for name, kind in statistics.items()}, result)


def gathered(made, *batches):
    """What `made` gathers of batches, each given as its size and the values of its statistics."""
    found = Gathered()
    for number, (size, *values) in enumerate(batches):
        made.gather(found, number, size, [np.asarray(value) for value in values])
    return found


EXPECTED = "expected a number, an array, or a mapping of these"
NAME = "expected a name made of letters, digits, '_' and '-'"


def fails(found):
    raise ValueError("no class\nat all")


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (lambda found: None, f"its result is a NoneType: {EXPECTED}"),
        (lambda found: "good", f"its result is a str: {EXPECTED}"),
        (lambda found: {}, "its result has no figure"),
        (lambda found: {"a/b": 1.0}, f"its result has the part 'a/b': {NAME}"),
        (lambda found: {1: 1.0}, f"its result has the part 1: {NAME}"),
        (lambda found: {"a": None}, f"its result for 'a' is a NoneType: {EXPECTED}"),
        (lambda found: 1j, f"its result is a complex: {EXPECTED}"),
        (lambda found: [[1, 2], [3]], f"its result is a list: {EXPECTED}"),
        (fails, r"ValueError: no class at all \(tests/metrics/test_gauge.py:\d+\)"),
    ],
)
def test_results_that_can_not_be_used_are_one_line(result, said):
    made = gauge(result, a=Kept)
    with pytest.raises(ConfigError, match=f"^own: {said}$"):
        made.figures(gathered(made, (1, [2.0])))


def test_names_of_figures():
    made = gauge(lambda found: {"": 1, "cat": np.float32(0.5), "table": np.eye(2, dtype=int), "nan": np.nan}, a=Kept)
    found = made.figures(gathered(made, (1, [2.0])))
    assert list(found) == ["own", "own.cat", "own.table", "own.nan"]
    assert found["own"] == 1.0 and found["own.cat"] == 0.5 and found["own.table"] == [[1, 0], [0, 1]]


def test_values_that_are_no_row_for_each_sample_are_one_line():
    made = gauge(mean_result, values=Kept)
    for values, count in (([1.0, 2.0], 2), (1.0, 1), ([], 0)):
        with pytest.raises(ConfigError, match=f"^own: {count} values for a batch of 3 samples: return one value per sample$"):
            gathered(made, (3, values))
    with pytest.raises(ConfigError, match="^own: the values of a sample have another shape from batch to batch$"):
        made.figures(gathered(made, (1, [[1.0, 2.0]]), (1, [[1.0]])))
    with pytest.raises(ConfigError, match=r"^own: counts of the shape \[1\] follow counts of the shape \[2\]$"):
        gathered(gauge(mean_result, a=Counts), (1, [1, 2]), (1, [1]))


def test_a_mean_over_batches_counts_by_their_size():
    made = gauge(mean_result, values=BatchMean)
    assert made.figures(gathered(made, (3, 1.0), (1, [5.0]))) == {"own": 2.0}


def test_a_weighted_mean_is_that_of_the_set():
    """(1·3 + 5·1) / 4; a value of weight 0 does not count, even if it is infinite; and nothing counts without weights."""
    made = gauge(mean_result, values=Kept, weights=Kept)
    assert made.figures(gathered(made, (2, [1.0, np.inf], [3.0, 0.0]), (1, [5.0], [1.0]))) == {"own": 2.0}
    assert np.isnan(made.figures(gathered(made, (1, [1.0], [0.0])))["own"])


def test_parts_of_processes_give_the_bytes_of_one_process():
    """Whatever batches each process has: sums are integers, and values are merged in the order of the batches."""
    rng = np.random.default_rng(0)
    made = gauge(mean_result, values=Kept, hits=Counts)
    batches = [(size, rng.normal(size=size).astype("float32"), rng.integers(0, 2**40, 3)) for size in (5, 5, 5, 5, 2)]
    whole = gathered(made, *batches)
    for ranks in ([0, 1, 0, 1, 0], [1, 1, 0, 2, 2]):
        parts = [Gathered() for _ in range(3)]
        for number, (size, *values) in enumerate(batches):
            made.gather(parts[ranks[number]], number, size, values)
        merged = Gathered()
        for part in reversed(parts):
            merged.include(part)
        for name, value in whole.whole().items():
            assert merged.whole()[name].tobytes() == value.tobytes()
        assert made.figures(merged) == made.figures(whole)
    with pytest.raises(ValueError, match="batch 0 is there twice"):
        whole.include(whole)
