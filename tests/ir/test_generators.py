"""Seeding without `paddle.seed` gives the same random numbers."""

from __future__ import annotations

import numpy as np
import paddle
from support.device import device_place

from ppema.ir import generators


def test_programs_draw_what_they_draw_after_paddle_seed():
    main = paddle.static.Program()
    with paddle.static.program_guard(main, paddle.static.Program()):
        dropped = paddle.nn.functional.dropout(paddle.ones([100]), 0.5)
    executor = paddle.static.Executor(device_place())
    paddle.seed(2**62 + 12345)
    expected = executor.run(main, fetch_list=[dropped])[0]
    generators.seed(2**62 + 12345)
    assert executor.run(main, fetch_list=[dropped])[0].tobytes() == expected.tobytes()
    assert executor.run(main, fetch_list=[dropped])[0].tobytes() != expected.tobytes()
    assert 0 < np.count_nonzero(expected) < 100
