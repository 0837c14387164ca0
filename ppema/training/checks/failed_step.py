"""What a step may have changed before an operation of it failed."""

from __future__ import annotations

from ppema.programs.build import Programs
from ppema.training.setup import TrainingRun


def written_before_a_failure(run: TrainingRun, programs: Programs) -> str | None:
    """What a run of the train program may write before an operation of it fails, in a few words. None: nothing."""
    if programs.guard.moved:
        return programs.guard.moved[0].name
    if programs.accumulation is not None:
        return "the sums of gradients"
    # The weights are updated before the operations of these passes run.
    return "the weights" if any(each.after in ("optimize", "averages") for each in run.config.passes) else None
