"""Learning rates that test configs name."""

from __future__ import annotations

import paddle


class HalvedEvery(paddle.optimizer.lr.StepDecay):
    """A user's own schedule."""
