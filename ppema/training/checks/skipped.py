"""Describes skipped steps: those whose loss, gradient or statistic was not finite."""

from __future__ import annotations

from ppema.checkpoint.state import State
from ppema.errors import DivergedError
from ppema.ir import scope
from ppema.passes.guard import Guard
from ppema.training.setup import TrainingRun

ADVICE = "lower the learning rate, set optimizer.clip_norm, or look for bad values in that batch"
# With this many skipped steps in a row, bad batches are an unlikely cause.
_IN_A_ROW = 3


def culprit(run: TrainingRun, guard: Guard, sample: str | None) -> str:
    """The cause of a skipped step, in words: the first non-finite gradient, else a statistic, else the loss.

    guard: that of the train program. Gradients are in the model's order. sample: the first bad sample of the batch, in words,
    if there is one. The loss scale is named too. Call it right after the skipped step, in the run's scope.
    """
    found = guard.culprit(scope.get(run.scope, guard.state_name))
    if found is None:
        what = "the loss"
    else:
        kind, name = found
        what = f"{'the gradient of' if kind == 'gradient' else 'the new value of'} {titled(run, name)}"
    scale = run.programs.scale
    now = f"the loss scale is now {scope.get(run.scope, scale.name):.0f}" if scale is not None else ""
    return "; ".join(filter(None, (f"{what} is not finite", sample, now)))


def overflows(run: TrainingRun) -> int:
    """The number of steps so far that were skipped because the loss scale was too large. Call it in the run's scope."""
    scale = run.programs.scale
    return 0 if scale is None else int(scope.get(run.scope, scale.overflows_name))


def titled(run: TrainingRun, variable: str) -> str:
    """A variable's name, with its place in the model if it has one: "linear_0.w_0 (head.weight)"."""
    place = next((place for place, each in run.programs.model.structured.items() if each == variable), None)
    return f"{variable} ({place})" if place else variable


def where(state: State, batches: int = 1) -> str:
    """The step after `state`, in words. batches: their number in the step."""
    first, last = state.batch, state.batch + batches - 1
    which = f"batch {first}" if batches == 1 else f"batches {first} to {last}"
    return f"step {state.step + 1} (epoch {state.epoch}, {which})"


def in_vain(state: State, why: str | None, in_a_row: int) -> str | None:
    """A warning that the run which ends in `state` does not train; None if it does.

    why: why the last step of this process was skipped, None if it was not; in_a_row: the number of its last steps that were.
    """
    if not state.step or (state.updates and in_a_row < _IN_A_ROW):
        return None
    many = f"{state.skipped} of {state.step} steps were skipped, also the last {in_a_row}"
    cause = f", the last one because {why}" if why else ""
    return f"{many if state.updates else f'all {state.step} steps were skipped'}{cause}: {ADVICE}"


def too_many(
    before: State, why: str | None, limit: int | None, in_a_row: int, overflows: int = 0, batches: int = 1
) -> DivergedError | None:
    """The error that ends the run if the step after `before` was skipped and exceeds the limit; None otherwise.

    why: why it was skipped, None if it was not; limit: `train.max_skipped`, None for no limit; in_a_row: the number of skipped
    steps in a row, up to this one. If there are many, the message does not recommend a larger limit. overflows: the skipped
    steps up to this one that lowered the loss scale, which do not count; batches: the number of its batches.
    """
    skipped = before.skipped + 1 - overflows
    if why is None or limit is None or skipped <= limit:
        return None
    if in_a_row < _IN_A_ROW:
        goes_on = ": with a larger train.max_skipped the run goes on from it"
    else:
        goes_on = (
            f", but the last {in_a_row} steps were all skipped, and with a larger train.max_skipped later ones would most "
            "likely be too: begin anew in another output"
        )
    return DivergedError(
        f"{where(before, batches)} is skipped: {why}; these are {skipped} skipped steps, and train.max_skipped is {limit}: "
        f"{ADVICE}. The state is saved{goes_on}"
    )
