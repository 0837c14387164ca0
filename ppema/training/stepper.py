"""Runs the train program: once for each step, or once for each micro-batch of a step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ppema.checkpoint.begun import Begun
from ppema.checkpoint.state import State, step_seed
from ppema.data import Batch
from ppema.errors import TrainingError
from ppema.ir import generators
from ppema.passes.accumulation import feed_of
from ppema.programs.build import Programs
from ppema.programs.executor import failed_on
from ppema.training.setup import TrainingRun
from ppema.training.skipped import culprit

_WEIGHT = "weight"  # what a micro-batch counts, among the parts that a run fetches


@dataclass(frozen=True)
class Step:
    """The result of a step.

    samples, batches: their numbers; loss: the mean over the samples; skipped: why it was skipped, in words, or None; parts: of
    the loss by name.
    """

    samples: int
    batches: int
    loss: float
    skipped: str | None
    parts: dict[str, float] = field(default_factory=dict)


class Stepper:
    """Runs the train program of a run, in its scope. begun: the micro-batches done of the next step."""

    def __init__(self, run: TrainingRun, begun: Begun):
        self._run = run
        self._enter(run.programs)
        self._begun = begun
        # After a bad micro-batch, the rest of its step is left out.
        self._skipped: str | None = None

    @property
    def unfinished(self) -> Begun | None:
        """The progress of the next step, which a checkpoint must hold. None: the step has not begun, or will be skipped."""
        return self._begun if self._begun.batches and self._skipped is None else None

    def run(self, batch: Batch, state: State) -> Step | None:
        """Run one batch of the step after `state`. Returns the step with its last batch, and None before.

        The step updates weights and averages once. A step with a non-finite loss or gradient is skipped.
        """
        programs = self._run.programs.at(state.step)
        if programs is not self._programs:
            self._run.enter(programs)
            self._enter(programs)
        begun, samples = self._begun, len(batch.indices)
        seed = step_seed(self._run.config.seed, state.step, begun.batches)
        if self._accumulation is None:
            return Step(samples, 1, *self._once(batch, seed, {}))
        ends = begun.batches + 1 == self._run.micro_batches.of_step(state)
        if self._skipped is None:
            loss, self._skipped, parts = self._once(batch, seed, feed_of(begins=not begun.batches, ends=ends))
            begun = begun.plus(samples, parts.pop(_WEIGHT), loss, parts)
        else:
            begun = begun.plus(samples, 0.0, 0.0, {})
        if not ends:
            self._begun = begun
            return None
        step = Step(begun.samples, begun.batches, begun.mean, self._skipped, begun.means)
        self._begun, self._skipped = Begun(), None
        return step

    def _enter(self, programs: Programs) -> None:
        """Run the train program of `programs`, those of a phase, from now on."""
        self._programs = programs
        self._accumulation = programs.accumulation
        self._fetched = dict(programs.parts)
        if self._accumulation is not None:
            self._fetched[_WEIGHT] = self._accumulation.weight

    def _once(self, batch: Batch, seed: int, more: Mapping[str, np.ndarray]) -> tuple[float, str | None, dict[str, float]]:
        """Run the program once. Returns the loss, why the run was skipped, and parts. more: inputs beside the batch."""
        run, programs = self._run, self._programs
        generators.seed(seed)
        feed = {**programs.model.inputs.feed(batch, run.train_loader), **more}
        if programs.mixing is not None:
            feed |= programs.mixing.feed(seed, len(batch.indices))
        wanted = [programs.loss, programs.guard.finite, *self._fetched.values()]
        try:
            loss, finite, *parts = run.executor.run(programs.train, feed, wanted)
        except TrainingError as error:
            raise failed_on(batch, run.train_loader.label, error) from error
        skipped = None if np.asarray(finite).all() else culprit(run, programs.guard, batch)
        return _number(loss), skipped, dict(zip(self._fetched, map(_number, parts), strict=True))


def _number(array: np.ndarray) -> float:
    return float(np.asarray(array).reshape(()))
