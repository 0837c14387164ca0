"""The phases of a run whose groups are frozen at first: each has a train program of its own."""

from __future__ import annotations

from dataclasses import dataclass

from ppema.config import Config
from ppema.config.horizon import Horizon
from ppema.errors import ConfigError
from ppema.programs.eval_program import Model
from ppema.programs.treatments import treatments_of


@dataclass(frozen=True)
class Phase:
    """A part of a run in which the same variables are trained.

    end: the number of the run's steps at its end; None for the last phase. waiting: names of the variables that are frozen in
    it, and trained later.
    """

    end: int | None = None
    waiting: frozenset[str] = frozenset()

    @property
    def flags(self) -> str:
        """The name of the variable that holds the flags of a skipped step. Their number differs between phases."""
        return "finite.flags" if self.end is None else f"finite.flags.{self.end}"


LAST = Phase()


def waiting_after(config: Config, model: Model, horizon: Horizon, step: int) -> frozenset[str]:
    """The names of the variables that are still frozen in the step that led to `step` steps. Raises as `phases_of` does."""
    return next((each.waiting for each in phases_of(config, model, horizon) if step <= (each.end or 0)), frozenset())


def phases_of(config: Config, model: Model, horizon: Horizon) -> list[Phase]:
    """The phases of a run before the last one, in order. In the last one no variable waits.

    model: has the variables of the train programs. Raises ConfigError if a group were frozen until the end, and if a phase
    trained nothing.
    """
    if all(group.frozen_for is None for group in config.groups):
        return []
    for index, group in enumerate(config.groups):
        if group.frozen_for is not None and (steps := horizon.steps(group.frozen_for)) >= horizon.total_steps:
            with config.at("groups", index):
                ends = f"the run ends after step {horizon.total_steps}"
                raise ConfigError.of(f"{group.frozen_for} are {steps} steps, and {ends}: write frozen: true", "frozen_for")
    treatments = treatments_of(config, model)
    until = {name: horizon.steps(each.frozen_for) for name, each in treatments.items() if each.frozen_for}
    phases = [
        Phase(end, frozenset(name for name, steps in until.items() if steps >= end)) for end in sorted(set(until.values()))
    ]
    kept = {name for name, each in treatments.items() if each.frozen}
    for phase in phases:
        if all(each.name in phase.waiting | kept for each in model.parameters if each.trainable):
            with config.at("groups"):
                raise ConfigError.of(f"all variables are frozen for {phase.end} steps: there would be nothing to train")
    return phases
