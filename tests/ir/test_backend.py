"""The side of the seam for the installed Paddle, on programs with nested blocks."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from support.device import device_place

from ppema.ir import backend, scope


@pytest.fixture
def nested():
    """A program with a dropout at the top level, one in each branch of a `cond`, and one in a `while_loop`."""
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        x = paddle.static.data("x", [-1, 4], "float32")
        flag = paddle.static.data("flag", [], "bool")
        dropout = paddle.nn.functional.dropout
        h = dropout(x, 0.5)
        h = paddle.static.nn.cond(flag, lambda: dropout(h, 0.3), lambda: dropout(h, 0.4) * 2.0)
        i = paddle.full([], 0, "int64")
        _, h = paddle.static.nn.while_loop(lambda i, h: i < 2, lambda i, h: [i + 1, dropout(h, 0.5)], [i, h])
    return main, h


def switches(program):
    return [(op.depth, op.is_test) for op in backend().operations(program) if op.kind == "dropout"]


def test_set_test_reaches_nested_blocks_and_reset_puts_each_back(nested):
    main, _ = nested
    assert switches(main) == [(0, False), (1, False), (1, False), (1, False)]
    first = backend().set_test(main)
    assert switches(main) == [(0, True), (1, True), (1, True), (1, True)]
    second = backend().set_test(main)
    backend().reset_test(second)
    assert switches(main) == [(0, True), (1, True), (1, True), (1, True)]
    backend().reset_test(first)
    assert switches(main) == [(0, False), (1, False), (1, False), (1, False)]


def test_a_nested_program_in_test_mode_computes_what_it_says(nested):
    main, h = nested
    backend().set_test(main)
    executor = paddle.static.Executor(device_place())
    x = np.arange(8, dtype="float32").reshape(2, 4)
    with paddle.static.scope_guard(paddle.static.Scope()):
        for flag, expected in ((True, x), (False, 2 * x)):
            (got,) = executor.run(main, feed={"x": x, "flag": np.array(flag)}, fetch_list=[h])
            np.testing.assert_array_equal(got, expected)


def test_parameters_say_what_they_are(built):
    found = {p.name: (p.shape, p.dtype, p.trainable, p.averaged) for p in backend().parameters(built.main)}
    assert found == {
        "batch_norm2d_0.b_0": ((3,), "float32", True, True),
        "batch_norm2d_0.w_0": ((3,), "float32", True, True),
        "batch_norm2d_0.w_1": ((3,), "float32", False, True),
        "batch_norm2d_0.w_2": ((3,), "float32", False, True),
        "conv2d_0.b_0": ((3,), "float32", True, True),
        "conv2d_0.w_0": ((3, 1, 3, 3), "float32", True, True),
        "linear_0.b_0": ((4,), "float32", True, True),
        "linear_0.w_0": ((48, 4), "float32", True, True),
    }


def test_state_is_everything_persistable(built):
    parameters = [p.name for p in backend().parameters(built.main)]
    assert backend().state_names(built.main) == parameters
    built.minimize()
    velocities = [p.name + "_velocity_0" for p in backend().parameters(built.main) if p.trainable]
    state = backend().state_names(built.main)
    rates = [name for name in state if "learning_rate" in name]
    assert len(rates) == 1
    assert sorted(name for name in state if name not in rates) == sorted(parameters + velocities)


def test_operations_name_the_line_that_built_them(built):
    conv = next(op for op in backend().operations(built.main) if op.kind == "conv2d")
    assert conv.source.rpartition(":")[0].endswith("conftest.py")


def test_a_renamed_clone_reads_other_variables_and_the_original_does_not(built):
    program, (logits,) = backend().clone(built.main, [built.logits])
    backend().set_test(program)
    backend().rename_parameters(program, {"linear_0.b_0": "other"})
    built.start()
    other = np.array([1, 2, 3, 4], "float32")
    built.scope.var("other").get_tensor().set(other, paddle.CPUPlace())
    feed = built.feed()
    plain, (plain_logits,) = backend().clone(built.main, [built.logits])
    backend().set_test(plain)
    (a,) = built.run(plain, [plain_logits], feed)
    (b,) = built.run(program, [logits], feed)
    # The bias starts at zero, so the difference equals the other variable.
    np.testing.assert_allclose(b - a, np.tile(other, (8, 1)), rtol=1e-6)


def test_a_step_of_descent_in_place_against_numpy():
    main, startup = paddle.static.Program(), paddle.static.Program()
    ir = backend()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        value = paddle.static.data("value", [2, 3], "float32")
        target = ir.create_state(main, startup, "target", [2, 3], "float32", 0.5)
        ir.append_descent(target, value, paddle.full([], 0.25, "float32"))
    where, executor = paddle.static.Scope(), paddle.static.Executor(device_place())
    fed = np.arange(6, dtype="float32").reshape(2, 3)
    with paddle.static.scope_guard(where):
        executor.run(startup)
        executor.run(main, feed={"value": fed})
    np.testing.assert_array_equal(scope.get(where, "target"), 0.5 - 0.25 * fed)


def test_reading_a_parameter_in_place_is_not_writing_it():
    """h += bias changes only h; the assignment to a counter changes the counter."""
    main, startup = paddle.static.Program(), paddle.static.Program()
    ones = paddle.nn.initializer.Constant(1.0)
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        bias = paddle.static.create_parameter([3], "float32", name="bias", default_initializer=ones)
        calls = paddle.static.create_parameter([1], "float32", name="calls", default_initializer=ones)
        h = paddle.static.data("x", [4, 3], "float32") * 2.0
        h.add_(bias)
        assert {name for op in backend().operations(main) for name in op.writes} == set()
        paddle.assign(calls + 1.0, output=calls)
        assert {name for op in backend().operations(main) for name in op.writes} == {"calls"}
