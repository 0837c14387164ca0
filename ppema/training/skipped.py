"""Steps that changed nothing because the loss, a gradient or a statistic was not finite: what to say of them."""

from __future__ import annotations

from ppema.checkpoint.state import State
from ppema.data import Batch
from ppema.data.bad_sample import bad_sample
from ppema.errors import TrainingError
from ppema.ir import scope
from ppema.training.setup import TrainingRun

ADVICE = "lower the learning rate, set optimizer.clip_norm, or look for bad values in that batch"
# So many skipped steps one after the other say that it is not the batches.
_IN_A_ROW = 3


def culprit(run: TrainingRun, batch: Batch) -> str:
    """What was not finite, in words: the first variable's gradient, in the model's order, else a statistic, else the loss.

    The first sample of `batch` that explains it is named too. Call it right after the step on `batch` that was skipped, in the
    scope of the run.
    """
    guard = run.programs.guard
    found = guard.culprit(scope.get(run.scope, guard.state_name))
    if found is None:
        what = "the loss"
    else:
        kind, name = found
        what = f"{'the gradient of' if kind == 'gradient' else 'the new value of'} {titled(run, name)}"
    sample = bad_sample(batch, run.train_loader.label)
    return f"{what} is not finite; {sample}" if sample else f"{what} is not finite"


def titled(run: TrainingRun, variable: str) -> str:
    """A variable's name, and its place in the model where it has one: "linear_0.w_0 (head.weight)"."""
    place = next((place for place, each in run.programs.model.structured.items() if each == variable), None)
    return f"{variable} ({place})" if place else variable


def where(state: State) -> str:
    """The step that comes next at `state`, in words."""
    return f"step {state.step + 1} (epoch {state.epoch}, batch {state.batch})"


def too_many(before: State, why: str | None, limit: int | None, in_a_row: int) -> TrainingError | None:
    """What ends the run with the step after `before`, if it was skipped, because of `why`, as one more than `limit`.

    in_a_row: how many steps up to this one were skipped one after the other. Many say that the batches are not to blame, and
    that a larger limit does not help.
    """
    if why is None or limit is None or before.skipped < limit:
        return None
    if in_a_row < _IN_A_ROW:
        goes_on = ": with a larger train.max_skipped the run goes on from it"
    else:
        goes_on = (
            f", but the last {in_a_row} steps were all skipped, and with a larger train.max_skipped later ones would most "
            "likely be too: begin anew in another output"
        )
    return TrainingError(
        f"{where(before)} is skipped: {why}; these are {before.skipped + 1} skipped steps, and train.max_skipped is {limit}: "
        f"{ADVICE}. The state is saved{goes_on}"
    )
