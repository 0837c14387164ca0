"""clone_for_test, in place of Program.clone(for_test=True)."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from ppema.ir import backend, scope
from ppema.passes.clone import clone_for_test


def test_the_clone_is_in_test_mode_and_the_original_still_trains(built):
    test, (logits, loss) = clone_for_test(built.main, [built.logits, built.loss])
    built.minimize()
    built.start()
    built.steps(3)
    assert {op.is_test for op in backend().operations(test)} == {None, True}
    assert [op.is_test for op in backend().operations(built.main) if op.kind.rstrip("_") == "batch_norm"] == [False]
    before = {p.name: scope.get(built.scope, p.name).tobytes() for p in backend().parameters(built.main)}
    feed = built.feed()
    first = built.run(test, [logits, loss], feed)
    half = {name: value[:4] for name, value in feed.items()}
    (part, _) = built.run(test, [logits, loss], half)
    # With fixed statistics a sample's result does not depend on the rest of its batch.
    np.testing.assert_allclose(first[0][:4], part, rtol=1e-6)
    assert {p.name: scope.get(built.scope, p.name).tobytes() for p in backend().parameters(built.main)} == before


def test_after_minimize_it_is_too_late(built):
    built.minimize()
    with pytest.raises(ValueError, match="comes before minimize"):
        clone_for_test(built.main)


def test_randomness_without_a_switch_is_pointed_out():
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        x = paddle.static.data("x", [4, 3], "float32")
        paddle.nn.functional.dropout(x, 0.5, axis=0)
    with pytest.warns(UserWarning, match=r"test_clone.py:\d+: 'uniform\w*' draws random numbers and has no test mode"):
        clone_for_test(main)


def test_gradients_of_the_forward_pass_are_no_training():
    """A gradient penalty differentiates within the loss; only minimize updates weights."""
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        x = paddle.static.data("x", [4, 3], "float32")
        x.stop_gradient = False
        out = paddle.nn.Linear(3, 1)(x)
        (slope,) = paddle.static.gradients([out], [x])
        loss = (slope**2).mean()
        clone_for_test(main, [loss])
        paddle.optimizer.SGD(0.1).minimize(loss)
        with pytest.raises(ValueError, match="comes before minimize"):
            clone_for_test(main)


def test_statistics_that_no_switch_stops_are_pointed_out():
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        paddle.nn.BatchNorm1D(3, use_global_stats=False)(paddle.static.data("x", [4, 3], "float32"))
    with pytest.warns(UserWarning, match=r"'batch_norm_?' changes batch_norm1d_0.w_1 and has no test mode"):
        clone_for_test(main)


def coin(x):
    return paddle.bernoulli(paddle.nn.functional.sigmoid(x))


@pytest.mark.parametrize("draw", [paddle.nn.functional.gumbel_softmax, coin])
def test_other_random_operations_are_pointed_out(draw):
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        draw(paddle.static.data("x", [4, 3], "float32"))
    with pytest.warns(UserWarning, match="draws random numbers and has no test mode"):
        clone_for_test(main)
