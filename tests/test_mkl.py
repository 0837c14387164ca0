"""The code that Paddle's MKL runs on this processor, and how it rounds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ppema import environment
from ppema.ir.native.processor import features

ROOT = Path(__file__).parents[1]
AMD = "processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu fma avx2 sse4_2\n\n"
# A step of SGD on nine weights. (1 + t)(1 - t) = 1 - t², of which float32 keeps 1: rounded twice, the weights become 0.
ONE_STEP = """
import ppema.environment; ppema.environment.load_paddle()
import paddle
paddle.disable_static()
t = 2.0 ** -13
weights = paddle.create_parameter([9], "float32", default_initializer=paddle.nn.initializer.Constant(1.0))
(weights * (1 - t)).sum().backward()
paddle.optimizer.SGD(1 + t, parameters=[weights]).step()
print(weights.numpy().any())
"""


@pytest.mark.parametrize(
    ("said", "own", "asks"),
    [
        pytest.param(AMD, {}, True, id="AMD"),
        pytest.param(AMD.replace("AuthenticAMD", "GenuineIntel"), {}, False, id="Intel"),
        pytest.param(AMD.replace(" avx2", ""), {}, False, id="AMD without AVX2"),
        pytest.param(AMD.replace(" fma", ""), {}, False, id="AMD without FMA"),
        pytest.param("Features\t: fp asimd\n", {}, False, id="ARM"),
        pytest.param("", {}, False, id="another system"),
        pytest.param(AMD, {"MKL_DEBUG_CPU_TYPE": "4"}, False, id="the user's code"),
        pytest.param(AMD, {"MKL_CBWR": "COMPATIBLE"}, False, id="the user's bits"),
        pytest.param(AMD, {"MKL_ENABLE_INSTRUCTIONS": "AVX"}, False, id="the user's instructions"),
    ],
)
def test_mkl_is_asked_for_avx2_on_processors_of_amd_unless_the_user_chose(monkeypatch, said, own, asks):
    monkeypatch.setattr(os, "environ", dict(own))
    monkeypatch.setattr(environment, "_lines", lambda path: {"/proc/cpuinfo": said.splitlines()}[path])
    assert environment.let_mkl_use_avx2() is asks
    assert os.environ == (own | {"MKL_DEBUG_CPU_TYPE": "5"} if asks else own)


@pytest.mark.skipif(not {"avx2", "fma"} <= set(features().split()), reason="a processor without AVX2 and FMA")
@pytest.mark.parametrize(("setting", "once"), [({}, "True"), ({"MKL_CBWR": "COMPATIBLE"}, "False")])
def test_mkl_then_rounds_a_product_and_a_sum_once(setting, once):
    alone = {"PYTHONPATH": str(ROOT)} | setting
    done = subprocess.run([sys.executable, "-c", ONE_STEP], env=alone, capture_output=True, text=True, check=False)
    assert done.stdout.split() == [once], done.stderr


@pytest.mark.campaign
@pytest.mark.parametrize("setting", [{"MKL_CBWR": "COMPATIBLE"}, {"MKL_DEBUG_CPU_TYPE": "5"}])
def test_the_rule_of_sgd_rounds_as_mkl_does(setting):
    tests = ROOT / "tests/passes/fused/test_update_rules.py"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "sgd", str(tests)]
    done = subprocess.run(command, cwd=ROOT, env=dict(os.environ) | setting, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert ".." in done.stdout
