"""Runs functions of variables on arrays, in a program of their own."""

from __future__ import annotations

import numpy as np
import paddle

from support.device import device_place


def computed(function, *arrays, by=None, unknown=1):
    """The arrays that `function` makes of variables with the values `arrays`.

    by: the index of an array. Then the last result is the gradient of the first result's sum by it. unknown: the number of
    leading axes whose size the program does not know.
    """
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        feeds = [
            paddle.static.data(f"x{i}", [*(-1 for _ in a.shape[:unknown]), *a.shape[unknown:]], str(a.dtype))
            for i, a in enumerate(arrays)
        ]
        if by is not None:
            feeds[by].stop_gradient = False
        made = function(*feeds)
        made = list(made) if isinstance(made, (tuple, list)) else [made]
        if by is not None:
            made += paddle.static.gradients([made[0].sum()], [feeds[by]])
    executor = paddle.static.Executor(device_place())
    with paddle.static.scope_guard(paddle.static.Scope()):
        executor.run(startup)
        found = executor.run(main, feed={f"x{i}": np.asarray(a) for i, a in enumerate(arrays)}, fetch_list=made)
    return found if len(found) > 1 else found[0]
