"""EDM2 (NVlabs/edm2, commit 4bf8162), training/phema.py: what its functions return.

Its averages over a course of weights are in test_table.py.
"""

from __future__ import annotations

import pytest

from ppema.averaging.decay import FLOATS, PowerFunction
from ppema.averaging.power import gamma_of, sigma_rel


def test_std_to_exp():
    recorded = {0.01: 96.99489782370986, 0.05: 16.972198602303447, 0.1: 6.937203937601809, 0.25: 0.71982395800071}
    assert {std: gamma_of(std) for std in recorded} == pytest.approx(recorded, rel=1e-10)


def test_exp_to_std():
    recorded = {0: 0.28867513459481287, 1: 0.23570226039551584, 6.94: 0.09997226695670997, 100: 0.009708271266078407}
    assert {gamma: sigma_rel(gamma) for gamma in recorded} == pytest.approx(recorded, rel=1e-14)


@pytest.mark.parametrize(
    ("std", "betas"),
    [
        (0.05, (0.0, 3.888921105204215e-06, 0.15053493247717484, 0.963825704953318)),
        (0.1, (0.0, 0.004080031659650188, 0.4333247206821348, 0.9838596128766719)),
    ],
)
def test_power_function_beta(std, betas):
    """t_next and t_delta in images; ours counts the steps before the update, and the steps that it stands for."""
    times = ((1000, 1000), (2000, 1000), (10_000, 1000), (1_000_000, 2048))
    schedule = PowerFunction(gamma_of(std))
    found = [schedule(float(after - step), float(step), FLOATS) for after, step in times]
    assert found == pytest.approx(betas, rel=1e-9)
