"""The difference of a figure between two models on the same samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ppema.evaluation.samples.bootstrap import SampleInterval, interval, over_both
from ppema.evaluation.samples.replicates import Replicates
from ppema.evaluation.samples.right_or_wrong import Discordant


@dataclass(frozen=True)
class PairedDifference:
    """The mean difference of a figure over S pairs of models.

    over_samples: None if the difference is the same in all resamples; over_both: over samples and seeds, None for one pair.
    answers: right and wrong answers of the two models; None for several pairs, and for other figures than accuracies.
    """

    value: float
    over_samples: SampleInterval | None
    over_both: SampleInterval | None
    answers: Discordant | None


def paired_difference(pairs: Sequence[tuple[Replicates, Replicates]], figure: str) -> PairedDifference | None:
    """The mean of first minus second over `pairs`, all on the same resamples. None if one of them has no replicates."""
    if not pairs or any(figure not in each.each for pair in pairs for each in pair):
        return None
    values = [new.value(figure) - old.value(figure) for new, old in pairs]
    value = sum(values) / len(values)
    over_samples = interval(value, np.mean([new.each[figure] - old.each[figure] for new, old in pairs], axis=0))
    both = over_both(over_samples, values) if over_samples is not None and len(pairs) > 1 else None
    answers = pairs[0][0].answers(pairs[0][1], figure) if len(pairs) == 1 else None
    return PairedDifference(value, over_samples, both, answers)
