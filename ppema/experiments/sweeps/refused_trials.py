"""Trials whose training refused its input before any trial ended otherwise: the fault may be in the config, or in a value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ppema.experiments.sweeps.search.space import Space
from ppema.experiments.sweeps.trial_runs import TrialEnd, TrialRuns

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

_LEAST = 3  # refusals that end a sweep
_MOST_DRAWN = 10  # refusals that end a sweep whose further points are unknown
_FARTHEST = 1000  # trials; those before another one are created with it


class Refusals:
    """The refused trials, which are not recorded as failed while the config itself may be at fault.

    sound: whether it is not. A trial has ended otherwise, or two trials were refused for different reasons.
    """

    def __init__(self, space: Space, *, sound: bool):
        self._space = space
        self.sound = sound
        self.held: list[tuple[TrialRuns, TrialEnd]] = []

    def add(self, runs: TrialRuns, ending: TrialEnd) -> None:
        """Hold a refused trial."""
        self.held.append((runs, ending))
        if ending.reason != self.held[0][1].reason:
            self.sound = True

    def contrast(self, trials: Sequence[FrozenTrial], active: Sequence[TrialRuns]) -> int | None:
        """The number of a trial that tells whether a value is at fault: every swept key has another value than in the first
        refused trial. Of several, the last. None: no trial differs so, one was refused already, or one is in training.
        """
        if self.sound or not self.held or self._has_contrast(active):
            return None
        first = self.held[0][0].params
        for number in reversed(range(min(self._space.trials, len(trials) + _FARTHEST))):
            point = self._space.point(number)
            if point is None:
                return None
            begun = number < len(trials) and trials[number].state.name != "WAITING"
            if not begun and self._space.differ(first, point):
                return number
        return None

    def are_of_the_config(self, trials: Sequence[FrozenTrial], active: Sequence[TrialRuns]) -> bool:
        """Whether all trials were refused for the same reason, and other values of the swept keys made no difference."""
        if self.sound or len(self.held) < min(_LEAST, self._space.trials):
            return False
        if self._has_contrast(()):
            return True
        if self._has_contrast(active) or self.contrast(trials, active) is not None:
            return False
        return self._space.method != "tpe" or len(self.held) >= min(_MOST_DRAWN, self._space.trials)

    def message(self) -> str:
        """The reason to end the sweep."""
        runs, ending = self.held[0]
        count = f"all {len(self.held)} trials so far fail" if len(self.held) > 1 else "the first trial fails"
        return f"{count}: trial {runs.claim.number}: {ending.reason}"

    def _has_contrast(self, active: Sequence[TrialRuns]) -> bool:
        """Whether a trial that was refused, or is in training, differs from the first in every swept key."""
        first = self.held[0][0].params
        return any(self._space.differ(first, each.params) for each in (*(runs for runs, _ in self.held[1:]), *active))
