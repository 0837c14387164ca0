"""timm 1.0.31, timm/utils/model_ema.py, ModelEmaV3.get_decay(step), over the steps 0 to 1,000.

`start` is its update_after_step, and one more where there is no warm-up: its first average is the weights as they are then.
"""

from __future__ import annotations

from math import fsum

import pytest

from ppema.averaging.decay import Constant, InverseGamma
from ppema.averaging.rule import Rule

STEPS = (0, 1, 2, 3, 4, 10, 50, 100, 101, 102, 103, 500, 1000)
# Our schedule and start; its decays at STEPS; the sum of all 1,001 and of their squares.
CASES = {
    "decay=0.9999, use_warmup=True": (
        (InverseGamma(0.9999), 0),
        (
            0,
            0,
            0.3700394750525634,
            0.5192501432308638,
            0.6031497370079502,
            0.7845565309968117,
            0.9263193700271922,
            0.9535841116638722,
            0.9538909949722393,
            0.9541928556043602,
            0.9544898238091883,
            0.984125989480318,
            0.99,
        ),
        (972.4425812917891, 948.1861503229261),
    ),
    "decay=0.999, use_warmup=True, warmup_power=0.75": (
        (InverseGamma(0.999, power=0.75), 0),
        (
            0,
            0,
            0.4053964424986395,
            0.5613086623491692,
            0.6464466094067263,
            0.8221720589961077,
            0.9468170410305501,
            0.9683772233983162,
            0.9686123378245277,
            0.9688434134528308,
            0.9690705582470391,
            0.9905425839099682,
            0.9943765867480965,
        ),
        (980.9448210241686, 964.4387876512549),
    ),
    "decay=0.99, use_warmup=True, warmup_gamma=10, min_decay=0.5": (
        (InverseGamma(0.99, gamma=10.0, minimum=0.5), 0),
        (
            0,
            0,
            0.5,
            0.5,
            0.5,
            0.5,
            0.6937340899455611,
            0.7965852999113182,
            0.7978199917664258,
            0.7990361167139081,
            0.8002341174854648,
            0.9271904838302204,
            0.9538605348519267,
        ),
        (892.8472547649574, 805.9106056129403),
    ),
    "decay=0.9998, use_warmup=True, update_after_step=100, warmup_power=1": (
        (InverseGamma(0.9998, power=1.0), 100),
        (0, 0, 0, 0, 0, 0, 0, 0, 0, 0.5, 0.6666666666666667, 0.9975, 0.9988888888888889),
        (892.6198341190993, 886.883491810991),
    ),
    "decay=0.9998, update_after_step=100": (
        (Constant(0.9998), 101),
        (0, 0, 0, 0, 0, 0, 0, 0, 0, 0.9998, 0.9998, 0.9998, 0.9998),
        (898.8202, 898.64043596),
    ),
    "decay=0.9998": (
        (Constant(0.9998), 1),
        (0, 0, *[0.9998] * 11),
        (998.8002, 998.60043996),
    ),
}


@pytest.mark.parametrize(("ours", "decays", "sums"), CASES.values(), ids=CASES)
def test_get_decay(ours, decays, sums):
    schedule, start = ours
    rule = Rule(schedule, start=start)
    found = [rule.decay_at(step) for step in range(1001)]
    assert [found[step] for step in STEPS] == pytest.approx(decays, rel=1e-13)
    assert (fsum(found), fsum(each**2 for each in found)) == pytest.approx(sums, rel=1e-13)
