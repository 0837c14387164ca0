"""optax 0.2.8, optax/transforms/_accumulation_test.py: test_ema and test_ema_debias, the values 5 and 7 at a decay of 0.9.

Its average begins with zero. With `debias` it is ours; without, it is ours without correction, of a variable that was zero.
"""

from __future__ import annotations

import pytest
from support.assigned import Assigned


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # (5·0.9·0.1 + 7·0.1)/(1 - 0.9²) = 1.15/0.19
        ({}, (5.0, 1.15 / 0.19)),
        ({"bias_correction": False}, (0.5, 1.15)),
    ],
    ids=["debias", "no_debias"],
)
def test_ema(settings, expected):
    program = Assigned({"v": 0.0}, decay=0.9, **settings)
    found = [float(program.step(v=value)["v"]) for value in (5.0, 7.0)]
    assert found == pytest.approx(expected, rel=2e-7)
