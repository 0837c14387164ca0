"""The variables of a train program that sums over ranks, and what its runs are fed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import paddle

from ppema.errors import TrainingError
from ppema.ir import Variable

# Inputs of a train program among ranks.
PLACE, LOSSES = "rank.place", "rank.losses"
# Whole numbers up to 2^24 are exact in float32, and so are the sums over ranks of those below this one.
_MOST = 1024


@dataclass(frozen=True)
class RankPlace:
    """The input of a rank.

    signals: [2], its request to stop and its step; share, samples: 0-D, of the batch, as in `place_of_rank`; of_step: 0-D, the
    share of all samples of the step.
    """

    signals: Variable
    share: Variable
    samples: Variable
    of_step: Variable

    @classmethod
    def input(cls) -> RankPlace:
        """Declare the input in the default main program."""
        given = paddle.static.data(PLACE, [5], "float32")
        stop, step, share, samples, of_step = paddle.unbind(given)
        return cls(paddle.stack([stop, step]), share, samples, of_step)


def place_of_rank(*, stop: bool, step: int, share: float, samples: int, of_step: float) -> dict[str, np.ndarray]:
    """The input of a run on n_r of the n samples of a batch.

    stop: whether this rank was asked to stop; step: its number; share: n_r / n; samples: n; of_step: Σ n_r / Σ n over the
    micro-batches of the step so far.
    """
    return {PLACE: np.array([stop, step % _MOST, share, samples, of_step], np.float32)}


@dataclass(frozen=True)
class Reduction:
    """The sums over ranks in a train program.

    ranks: their number; signals: [2] float32, the number of ranks that were asked to stop, and the sum of their steps' numbers;
    size: bytes that each rank gives to a step's sums; buckets: the number of operations that sum.
    """

    ranks: int
    signals: Variable
    size: int
    buckets: int

    def __str__(self) -> str:
        """The reduction in words, for the report of passes."""
        many = "1 bucket" if self.buckets == 1 else f"{self.buckets} buckets"
        return f"sums {self.size / 2**20:.1f} MiB over {self.ranks} ranks, in {many}"

    def stops(self, signals: np.ndarray, step: int) -> bool:
        """Whether any rank was asked to stop. signals: their values after a run; step: of this rank.

        Raises TrainingError if the ranks are not at the same step.
        """
        asked, steps = (float(each) for each in signals)
        if steps != self.ranks * (step % _MOST):
            raise TrainingError(f"the other ranks are not at step {step + 1}, as this one is: the sums are of different steps")
        return asked > 0
