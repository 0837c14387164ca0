"""Figures on resamples: those of the metrics themselves, on sets made by hand; without paddle's programs."""

from __future__ import annotations

import numpy as np
import pytest
from support.measured import Spec

from ppema.evaluation.samples.bootstrap import drawn
from ppema.evaluation.samples.sample_counts import SampleCounts
from ppema.metrics import SumOfMeans, build_metrics

rng = np.random.default_rng(0)
VALUES = {"values": rng.exponential(size=23).astype(np.float32)}
WEIGHTED = {**VALUES, "weights": rng.integers(0, 3, 23).astype(np.float32)}
CLASSES = {"scores": np.round(rng.normal(size=(23, 3)), 1).astype(np.float32), "targets": np.arange(23) % 3}
BINARY = {"scores": np.round(rng.normal(size=23), 1).astype(np.float32), "targets": np.arange(23) % 2}
LABELS = {"scores": CLASSES["scores"], "targets": rng.integers(0, 2, (23, 3))}
NUMBERS = {"predictions": CLASSES["scores"], "targets": rng.normal(size=(23, 3)).astype(np.float32)}


def loss_of_parts():
    return SumOfMeans({"a": 0.25, "b": 2.0}), {f"{part}.{key}": value for part in "ab" for key, value in WEIGHTED.items()}


@pytest.mark.parametrize(
    ("spec", "kept"),
    [
        (Spec("accuracy"), VALUES),
        (Spec("accuracy", ignore_index=0), WEIGHTED),
        (Spec("rmse"), VALUES),
        *((Spec(name, average=kind), CLASSES) for name in ("auc", "average_precision") for kind in (None, "weighted", "none")),
        *((Spec(name), BINARY) for name in ("auc", "average_precision")),
        *((Spec("auc", multilabel=True, average=kind), LABELS) for kind in ("macro", "micro")),
        (Spec("average_precision", multilabel=False), LABELS),
        (None, loss_of_parts()[1]),
    ],
    ids=lambda each: f"{each.name}-{'-'.join(map(str, each.args.values()))}" if isinstance(each, Spec) else "",
)
def test_all_resamples_at_once_are_each_of_them_alone(spec, kept):
    """One formula for many resamples must be `result` of the repeated samples, also where a class is missing."""
    (metric,) = [loss_of_parts()[0]] if spec is None else build_metrics([spec]).values()
    times = np.concatenate([next(drawn(23, 30)), np.eye(23)[:1] * 23])
    found = metric.of_resamples(kept, times)
    figures = found if isinstance(found, dict) else {"": found}
    for row, often in enumerate(times.astype(int)):
        alone = metric.result({key: np.repeat(values, often, axis=0) for key, values in kept.items()})
        for name, value in (alone if isinstance(alone, dict) else {"": alone}).items():
            np.testing.assert_allclose(figures[name][row], value, rtol=1e-12, err_msg=name)


def test_sums_do_not_depend_on_the_order_of_samples():
    """To the last bit, so that neither batches nor threads change an interval."""
    metric = SumOfMeans({"": 1.0})
    values = {"values": (rng.exponential(size=1000) * 10.0 ** rng.integers(-6, 6, 1000)).astype(np.float32)}
    times, order = next(drawn(1000, 10)), rng.permutation(1000)
    turned = metric.of_resamples({"values": values["values"][order]}, np.asfortranarray(times[:, order]))
    assert turned.tobytes() == metric.of_resamples(values, times).tobytes()
    broken = {"values": np.append(values["values"][1:], np.float32("inf"))}
    assert np.isnan(metric.of_resamples(broken, times)).all()


def test_counts_of_resamples():
    each = rng.integers(0, 3, (23, 2, 4)) * rng.integers(0, 2, (23, 2, 4))
    times = next(drawn(23, 9))
    found = SampleCounts.of(each)
    assert len(found.count) == np.count_nonzero(each)
    np.testing.assert_array_equal(found.sums(times), np.einsum("rn,nij->rij", times, each).astype(int))
    assert not SampleCounts.of(0 * each).sums(times).any()
