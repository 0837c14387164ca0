"""Checks that all variables written by steps are finite: weights, the optimizer's state, averages."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from ppema.checkpoint.state import State
from ppema.data.bad_sample import bad_sample
from ppema.errors import DivergedError
from ppema.ir import backend, scope
from ppema.training.batches import batches_after
from ppema.training.checks.skipped import titled, where
from ppema.training.setup import TrainingRun


class StateCheck:
    """Finds non-finite variables that the guard of a step can not, such as infinite weights after finite gradients.

    It reads each variable that steps write once, without a copy, and changes none. Other variables, such as a mask of -inf, may
    have any value. Of an average that ranks share, each checks its part.
    """

    def __init__(self, run: TrainingRun, state: State):
        """state: the position of the run, where the variables are known to be finite."""
        self._run = run
        self._finite = state
        self._written = _written(run)

    def culprit(self) -> str | None:
        """The first non-finite variable, in words, or None. Weights come first, then the optimizer's state, then averages."""
        place = self._first()
        return None if place is None else list(self._written.values())[place]

    def failure(
        self, written: State, state: State, newest: Callable[[], Path | None], *, together: bool = True
    ) -> DivergedError | None:
        """The error that ends the run if a variable is not finite; None otherwise.

        written: the state after the last step that was not skipped; state: the current one, which is checked only once. newest:
        finds the run's newest checkpoint, which is finite. together: all ranks are here, and each reads its own batches again,
        to find a bad sample; otherwise this rank alone does.
        """
        if state == self._finite:
            return None
        what = self.culprit() if not self._run.shards else self._culprit_of_all()
        if what is None:
            self._finite = state
            return None
        first, last = self._finite.step + 1, written.step
        since = f"step {last}" if first == last else f"one of the steps {first} to {last}"
        found, sample = newest(), self._sample(last, together)
        kept = f"{found} is finite, and init_from can begin with it" if found else "there is no checkpoint before it"
        return DivergedError(
            f"{what} is not finite since {since}, whose loss and gradients were{sample}: lower the learning rate, set "
            "optimizer.clip_norm or correct the data, and begin anew in another output. This state is not saved; "
            f"{kept}"
        )

    def _culprit_of_all(self) -> str | None:
        """As `culprit`, the same on all ranks."""
        place = self._first()
        found = self._run.world.gather(b"" if place is None else str(place).encode(), "whether all variables are finite")
        places = [int(each) for each in found if each]
        return list(self._written.values())[min(places)] if places else None

    def _first(self) -> int | None:
        """The place of the first non-finite variable in `_written`, as far as this rank knows; None if all are finite."""
        shards, where = self._run.shards, self._run.scope
        for place, name in enumerate(self._written):
            if not (shards.finite(name) if name in shards.variables else scope.all_finite(where, name)):
                return place
        return None

    def _sample(self, last: int, together: bool) -> str:
        """The first bad sample from the last finite state up to step `last`, in words; "" if there is none."""
        found = self._own_sample(last)
        if together:
            sent = self._run.world.gather(json.dumps(found).encode(), "the search for a bad sample")
            found = min(filter(None, map(json.loads, sent)), key=lambda each: each[0], default=None)
        return f"; in {found[1]}" if found else ""

    def _own_sample(self, last: int) -> tuple[int, str] | None:
        """The first bad sample in the batches of this rank: the number of batches before its own, and where it is, in words."""
        state, loader, micro_batches = self._finite, self._run.train_loader, self._run.micro_batches
        done = 0
        with closing(batches_after(self._run, state, last)) as found:
            for number, batch in enumerate(found):
                if sample := bad_sample(batch, loader.label):
                    return number, f"{where(state, micro_batches.of_step(state))} {sample}"
                done += 1
                if done == micro_batches.of_step(state):
                    state, done = state.advance(0, micro_batches.per_epoch, batches=done), 0
        return None


def _written(run: TrainingRun) -> dict[str, str]:
    """For each floating-point variable that steps write, its name in messages. Weights are in the model's order."""
    model, parts = run.programs.model, run.state_parts()
    moved = {parameter.name for parameter in run.programs.guard.moved}
    order = {name: index for index, name in enumerate(model.structured.values())}
    raw = sorted(model.parameters, key=lambda each: order.get(each.name, len(order)))
    found = {each.name: titled(run, each.name) for each in raw if each.trainable or each.name in moved}
    of_model = set(backend().state_names(model.test.program))
    found |= {name: f"the optimizer's {name}" for name in parts["optimizer"] if name not in of_model}
    for key, average in run.programs.averages.items():
        found |= {shadow: f"the average {key!r} of {titled(run, name)}" for name, shadow in average.shadow_of.items()}
        found |= {rest: f"the rest of the average {key!r} of {titled(run, name)}" for name, rest in average.rest_of.items()}
    shared = run.shards.variables
    return {name: words for name, words in found.items() if name in shared or "float" in scope.dtype(run.scope, name)}
