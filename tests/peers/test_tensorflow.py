"""TensorFlow 2.21, tensorflow/python/training/moving_averages_test.py: the values that its tests expect.

TensorFlow's average of a variable begins with the initial value: `bias_correction=False`. Its average of a tensor begins with
zero; here that is a variable that was zero before the first step, and with `zero_debias` our own correction.
"""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from support.assigned import Assigned

from ppema.ema.exponential_moving_average import ExponentialMovingAverage

# testAverageVariables[No]NumUpdates_{Scalar,Vector}[_Debias]: num_updates, decay after it, and the average of 40 that began
# with 0 after one update and after two, without zero_debias and with it.
CASES = [(None, 0.25, (30.0, 37.5), (40.0, 40.0)), (1, 0.181818, (32.72728, 38.67769), (40.0, 40.0))]


def close(found, expected):
    """TensorFlow's assertAllClose."""
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("debias", [False, True])
@pytest.mark.parametrize("shape", [(), (5,)], ids=["scalar", "vector"])
@pytest.mark.parametrize(("updates", "decay", "plain", "debiased"), CASES, ids=["no_num_updates", "num_updates"])
def test_averages_of_variables_and_of_a_tensor(updates, decay, plain, debiased, shape, debias):
    """The 24 numeric cases: 10 and 30 stay, and the tensor's average goes from 0 to 40."""
    initial = {"v0": np.full(shape, 10.0), "v1": np.full(shape, 30.0), "tensor": np.zeros(shape)}
    program = Assigned(initial, decay=0.25, thres_steps=updates, bias_correction=debias)
    for tensor in debiased if debias else plain:
        found = program.step(tensor=np.full(shape, 40.0))
        close(found["v0"], np.full(shape, 10.0))
        close(found["v1"], np.full(shape, 30.0))
        close(found["tensor"], np.full(shape, tensor))


def test_other_values():
    """testAssignMovingAverage[WithoutZeroDebias], testAverageVariablesWithControlDeps, testBasicEager."""
    program = Assigned({"v": [10.0, 11.0]}, decay=0.25, bias_correction=False)
    close(program.step(v=[1.0, 2.0])["v"], [3.25, 4.25])
    program = Assigned({"v": [0.0, 0.0]}, decay=0.25)
    close(program.step(v=[1.0, 2.0])["v"], [1.0, 2.0])
    program = Assigned({"v": [10.0]}, decay=0.25, bias_correction=False)
    close(program.step(v=[20.0])["v"], [17.5])
    program = Assigned({"v0": 1.0, "v1": 2.0}, decay=0.25, bias_correction=False)
    program.step()
    found = program.step(v0=2.0, v1=4.0)
    close(found["v0"], 1.75)
    close(found["v1"], 3.5)


def test_the_example_of_the_documentation():
    """A variable that begins with 0 and is set to 10: after one update at 0.99 its average is 0.1."""
    close(Assigned({"v": 0.0}, decay=0.99, bias_correction=False).step(v=10.0)["v"], 0.1)


@pytest.mark.parametrize("debias", [False, True])
def test_names(debias):
    """testAverageVariablesNames[NoDebias]: before `update` and after it.

    Not testAverageVariablesNamesRespectScope[NoDebias]: Paddle's name scopes are no part of a parameter's name.
    """
    program = Assigned({"v0": 10.0, "v1": 30.0, "v2": 20.0}, frozen=("v2",), name="foo", bias_correction=debias)
    ema, v0, v1 = program.ema, program.variables["v0"], program.variables["v1"]
    names = [ema.average_name(each) for each in (v0, v1)]
    with paddle.static.program_guard(program.main):
        before = ExponentialMovingAverage(name="foo", bias_correction=debias)
        assert [before.average_name(each) for each in (v0, v1)] == names
        assert sorted(before.variables_to_restore()) == sorted([*names, "v2"])
    assert [ema.average(each).name for each in (v0, v1)] == names and len(set(names)) == 2
    restored = ema.variables_to_restore()
    assert {name: each.name for name, each in restored.items()} == {names[0]: "v0", names[1]: "v1", "v2": "v2"}


def test_names_of_a_subset():
    """testSubsetAverageVariablesNames: only those given are to be restored from their averages."""
    program = Assigned({"v0": 10.0, "v1": 30.0, "v2": 20.0}, frozen=("v2",), name="foo_avg")
    restored = program.ema.variables_to_restore([program.variables["v0"]])
    assert sorted(restored) == sorted([program.ema.average_name("v0"), "v1", "v2"])


def test_names_in_a_program_without_an_average():
    """testImportedGraphVariablesToRestore: one variable, once."""
    main = paddle.static.Program()
    with paddle.static.program_guard(main, paddle.static.Program()), paddle.utils.unique_name.guard():
        paddle.static.create_parameter([1], "float32", name="v")
        ema = ExponentialMovingAverage(0.25, name="foo_avg")
        assert list(ema.variables_to_restore()) == [ema.average_name("v")]
