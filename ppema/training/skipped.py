"""Describes skipped steps: those whose loss, gradient or statistic was not finite."""

from __future__ import annotations

from ppema.checkpoint.state import State
from ppema.data import Batch
from ppema.data.bad_sample import bad_sample
from ppema.errors import TrainingError
from ppema.ir import scope
from ppema.training.setup import TrainingRun

ADVICE = "lower the learning rate, set optimizer.clip_norm, or look for bad values in that batch"
# With this many skipped steps in a row, bad batches are an unlikely cause.
_IN_A_ROW = 3


def culprit(run: TrainingRun, batch: Batch) -> str:
    """The cause of a skipped step, in words: the first non-finite gradient, else a statistic, else the loss.

    Gradients are in the model's order. The first bad sample of `batch` is named too. Call it right after the skipped step on
    `batch`, in the run's scope.
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
    """A variable's name, with its place in the model if it has one: "linear_0.w_0 (head.weight)"."""
    place = next((place for place, each in run.programs.model.structured.items() if each == variable), None)
    return f"{variable} ({place})" if place else variable


def where(state: State) -> str:
    """The step after `state`, in words."""
    return f"step {state.step + 1} (epoch {state.epoch}, batch {state.batch})"


def too_many(before: State, why: str | None, limit: int | None, in_a_row: int) -> TrainingError | None:
    """The error that ends the run if the step after `before` was skipped and exceeds the limit; None otherwise.

    why: why it was skipped, None if it was not; limit: `train.max_skipped`, None for no limit; in_a_row: the number of skipped
    steps in a row, up to this one. If there are many, the message does not recommend a larger limit.
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
