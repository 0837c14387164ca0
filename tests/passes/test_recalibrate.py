"""BatchNorm statistics measured for averaged weights against float64 numpy on the same batches."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from support.averages import averaged, averages, same, weights
from support.device import device_place

from ppema.errors import AverageError
from ppema.ir import backend, scope
from ppema.passes.clone import clone_for_test
from ppema.passes.recalibrate import moving_statistics, recalibration

STATISTICS = ("batch_norm2d_0.w_1", "batch_norm2d_0.w_2")


def convolution(images, kernel, bias):
    """float64 [N, 1, 6, 6] → [N, C, 4, 4], from the definition."""
    patches = np.lib.stride_tricks.sliding_window_view(images[:, 0].astype("float64"), (3, 3), axis=(1, 2))
    return np.einsum("nhwij,cij->nchw", patches, kernel[:, 0].astype("float64")) + bias.astype("float64")[:, None, None]


@pytest.fixture
def recalibrated(built, here):
    """An average with measured statistics after some training steps, and a test program."""
    with built.guard():
        test, (logits,) = clone_for_test(built.main, [built.logits])
    ema = averaged(built, 0.9, batch_norm="recalibrate")
    built.steps(6)
    return ema, test, logits


def test_the_statistics_are_those_of_all_values_of_the_batches_under_the_averaged_weights(built, recalibrated):
    ema, test, _ = recalibrated
    raw = weights(built)
    feeds = [built.feed(16) for _ in range(5)]
    # The batches differ, so the variance between them counts.
    for shift, feed in enumerate(feeds):
        feed["images"] += shift
    ema.recalibrate(built.executor, test, feeds)
    kernel, bias = (scope.get(built.scope, ema.average_name(f"conv2d_0.{end}")) for end in ("w_0", "b_0"))
    values = convolution(np.concatenate([feed["images"] for feed in feeds]), kernel, bias)
    mean, variance = (scope.get(built.scope, ema.average_name(name)) for name in STATISTICS)
    np.testing.assert_allclose(mean, values.mean(axis=(0, 2, 3)), rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(variance, values.var(axis=(0, 2, 3)), rtol=2e-6)
    assert same(weights(built), raw)


def test_applied_they_are_the_statistics_that_the_test_program_uses(built, recalibrated):
    ema, test, logits = recalibrated
    ema.recalibrate(built.executor, test, [built.feed(16) for _ in range(3)])
    raw, shadows, feed = weights(built), averages(built, ema), built.feed()
    (before,) = built.run(test, [logits], feed)
    with ema.apply(built.executor):
        assert same(weights(built), shadows)
        (applied,) = built.run(test, [logits], feed)
    assert same(weights(built), raw)
    assert before.tobytes() != applied.tobytes()
    # The statistics matter more in deeper layers. By hand: put the statistics under the variables' own names.
    scope.put(built.scope, shadows)
    assert built.run(test, [logits], feed)[0].tobytes() == applied.tobytes()


def test_measured_statistics_are_refused_once_the_average_has_moved_on(built, recalibrated):
    ema, test, _ = recalibrated
    with pytest.raises(AverageError, match="has no BatchNorm statistics of its weights as they are now: call recalibrate"):
        with ema.apply(built.executor):
            pass
    ema.recalibrate(built.executor, test, [built.feed()])
    with ema.apply(built.executor):
        pass
    built.steps(1)
    with pytest.raises(AverageError, match="as they are now"), ema.apply(built.executor):
        pass


def test_while_an_average_is_applied_nothing_is_measured(built, recalibrated):
    """The shadows' names then hold the raw weights: measured values would overwrite the raw statistics."""
    ema, test, _ = recalibrated
    ema.recalibrate(built.executor, test, [built.feed()])
    raw, shadows = weights(built), averages(built, ema)
    with ema.apply(built.executor), pytest.raises(AverageError, match="the average 'ema' is applied, so that raw weights and"):
        ema.recalibrate(built.executor, test, [built.feed()])
    assert same(weights(built), raw) and same(averages(built, ema), shadows)


def test_statistics_measured_in_one_scope_do_not_count_in_another(built, recalibrated):
    ema, test, _ = recalibrated
    ema.recalibrate(built.executor, test, [built.feed()])
    other = paddle.static.Scope()
    with paddle.static.scope_guard(other):
        built.executor.run(built.startup)
        for _ in range(6):
            built.executor.run(built.main, feed=built.feed())
        with pytest.raises(AverageError, match="has no BatchNorm statistics of its weights as they are now"):
            with ema.apply(built.executor):
                pass
    with ema.apply(built.executor):
        pass


def test_statistics_of_one_fold_do_not_count_in_the_next(built, recalibrated):
    """The startup program resets everything; after as many steps the number of updates is the same again."""
    ema, test, _ = recalibrated
    ema.recalibrate(built.executor, test, [built.feed()])
    built.start()
    built.steps(6)
    with pytest.raises(AverageError, match="has no BatchNorm statistics of its weights as they are now"):
        with ema.apply(built.executor):
            pass
    ema.recalibrate(built.executor, test, [built.feed()])
    with ema.apply(built.executor):
        pass


def test_statistics_do_not_count_for_the_weights_of_another_checkpoint(built, recalibrated, tmp_path):
    ema, test, _ = recalibrated
    paddle.static.save(built.main, str(tmp_path / "saved"))
    ema.recalibrate(built.executor, test, [built.feed()])
    paddle.static.load(built.main, str(tmp_path / "saved"), built.executor)
    with pytest.raises(AverageError, match="has no BatchNorm statistics of its weights as they are now"):
        with ema.apply(built.executor):
            pass


def test_misuse_of_recalibrate(built, recalibrated):
    ema, test, _ = recalibrated
    with pytest.raises(AverageError, match="nothing was measured: feeds has no batch of two values"):
        ema.recalibrate(built.executor, test, [])
    with pytest.raises(AverageError, match="the test program has no BatchNorm with the statistics of"):
        ema.recalibrate(built.executor, paddle.static.Program(), [built.feed()])


def test_another_policy_recalibrates_nothing(built, here):
    ema = averaged(built, 0.9)
    built.steps(1)
    with pytest.raises(AverageError, match="was not made with batch_norm='recalibrate'"):
        ema.recalibrate(built.executor, paddle.static.Program(), [])


def test_feeds_that_break_off_leave_the_statistics_as_they_were(built, recalibrated):
    ema, test, _ = recalibrated
    before = averages(built, ema)

    def feeds():
        yield built.feed()
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        ema.recalibrate(built.executor, test, feeds())
    assert same(averages(built, ema), before)


def test_batches_of_different_sizes_count_by_their_values(built, recalibrated):
    ema, test, _ = recalibrated
    feeds = [built.feed(size) for size in (16, 3, 1, 7)]
    for shift, feed in enumerate(feeds):
        feed["images"] += shift
    ema.recalibrate(built.executor, test, feeds)
    kernel, bias = (scope.get(built.scope, ema.average_name(f"conv2d_0.{end}")) for end in ("w_0", "b_0"))
    values = convolution(np.concatenate([feed["images"] for feed in feeds]), kernel, bias)
    mean, variance = (scope.get(built.scope, ema.average_name(name)) for name in STATISTICS)
    np.testing.assert_allclose(mean, values.mean(axis=(0, 2, 3)), rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(variance, values.var(axis=(0, 2, 3)), rtol=2e-6)


class Branches:
    """BatchNorm on [N, 2], and another one in a branch that is taken if the mean of the input is above 0."""

    def __init__(self, build):
        self.main, self.startup = paddle.static.Program(), paddle.static.Program()
        with paddle.utils.unique_name.guard(), paddle.static.program_guard(self.main, self.startup):
            build(paddle.static.data("x", [-1, 2], "float32"))
        self.scope, self.executor = paddle.static.Scope(), paddle.static.Executor(device_place())
        with paddle.static.scope_guard(self.scope):
            self.executor.run(self.startup)

    def measure(self, batches, counted=False):
        made = recalibration(self.main, [p.name for p in backend().parameters(self.main)], counted=counted)
        with paddle.static.scope_guard(self.scope):
            run = lambda program, feed: self.executor.run(program, feed=feed)  # noqa: E731
            return made.measure(self.scope, [{"x": batch} for batch in batches], run)


def test_a_branch_counts_the_batches_that_take_it():
    def build(x):
        inner = paddle.nn.BatchNorm1D(2)
        inner.eval()
        paddle.static.nn.cond(x.mean() > 0, lambda: inner(x).mean(), lambda: x.mean())

    rng = np.random.default_rng(0)
    batches = [rng.normal(sign * 5, 1, (size, 2)).astype("float32") for sign, size in ((1, 8), (-1, 5), (1, 3), (-1, 5))]
    program = Branches(build)
    with pytest.raises(AverageError, match=r"batches must be of one size: x is \[5, 2\]"):
        program.measure(batches)
    assert program.measure(batches, counted=True) == 2
    taken = np.concatenate(batches[::2]).astype("float64")
    np.testing.assert_allclose(scope.get(program.scope, "batch_norm1d_0.w_1"), taken.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(scope.get(program.scope, "batch_norm1d_0.w_2"), taken.var(axis=0), rtol=1e-6)
    # The branch is never taken: its statistics stay unchanged.
    before = scope.get(program.scope, "batch_norm1d_0.w_1")
    program.measure(batches[1::2])
    np.testing.assert_array_equal(scope.get(program.scope, "batch_norm1d_0.w_1"), before)


def test_batches_that_can_not_be_taken_together(built, recalibrated):
    ema, test, _ = recalibrated
    before = averages(built, ema)
    nan = built.feed()
    nan["images"][0] = np.nan
    for feeds, said in (
        ([built.feed(8), built.feed(0)], r"a batch is empty: images is \[0, 1, 6, 6\]"),
        ([built.feed(), nan], "batch_norm2d_0.w_1.ema is not finite: look for bad values"),
    ):
        with pytest.raises(AverageError, match=said):
            ema.recalibrate(built.executor, test, feeds)
        assert same(averages(built, ema), before)


def test_a_train_program_is_refused(built, recalibrated):
    ema, _, _ = recalibrated
    with pytest.raises(AverageError, match="the program updates its weights: recalibrate with a test program"):
        ema.recalibrate(built.executor, built.main, [built.feed()])


def test_values_that_do_not_vary():
    def build(x):
        norm = paddle.nn.BatchNorm1D(2)
        norm.eval()
        norm(x)

    program = Branches(build)
    program.measure([np.full((4, 2), 3, "float32")])
    np.testing.assert_array_equal(scope.get(program.scope, "batch_norm1d_0.w_1"), [3, 3])
    np.testing.assert_array_equal(scope.get(program.scope, "batch_norm1d_0.w_2"), [0, 0])


def test_a_layer_used_twice_is_refused():
    def build(x):
        norm = paddle.nn.BatchNorm1D(2)
        norm.eval()
        norm(norm(x))

    with pytest.raises(AverageError, match="batch_norm1d_0.w_1 is used by 2 BatchNorm operations"):
        Branches(build).measure([])


def test_moving_statistics_are_batch_norms_alone(built):
    built.minimize()
    assert moving_statistics(built.main) == set(STATISTICS)
