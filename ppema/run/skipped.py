"""Steps that changed nothing because a gradient or the loss was not finite: what to say of them."""

from __future__ import annotations

from ppema.errors import TrainingError
from ppema.ir import scope
from ppema.run.setup import TrainingRun
from ppema.run.state import State

ADVICE = "lower the learning rate, set optimizer.clip_norm, or look for bad values in that batch"


def culprit(run: TrainingRun) -> str:
    """What was not finite, in words: the first variable's gradient, in the model's order, else the loss.

    Call it right after the step that was skipped, in the scope of the run.
    """
    programs = run.programs
    name = programs.guard.culprit(scope.get(run.scope, programs.guard.state_name))
    if name is None:
        return "the loss is not finite"
    place = next((place for place, each in programs.model.structured.items() if each == name), None)
    return f"the gradient of {name}{f' ({place})' if place else ''} is not finite"


def where(state: State) -> str:
    """The step that comes next at `state`, in words."""
    return f"step {state.step + 1} (epoch {state.epoch}, batch {state.batch})"


def too_many(before: State, why: str | None, limit: int | None) -> TrainingError | None:
    """What ends the run with the step after `before`, if it was skipped, because of `why`, as one more than `limit`."""
    if why is None or limit is None or before.skipped < limit:
        return None
    return TrainingError(
        f"{where(before)} is skipped: {why}; these are {before.skipped + 1} skipped steps, and train.max_skipped is {limit}: "
        f"{ADVICE}. The state is saved: with a larger train.max_skipped the run goes on from it"
    )
