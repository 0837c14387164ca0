"""Runs the train program: once for each step, or once for each micro-batch of a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ppema.checkpoint.begun import Begun
from ppema.checkpoint.state import State, step_seed
from ppema.data import Batch
from ppema.errors import TrainingError
from ppema.ir import Program, Variable, generators
from ppema.optimizers.optimizer import advance
from ppema.optimizers.schedules import ReduceOnPlateau
from ppema.passes.accumulation import feed_of
from ppema.passes.target import TrainProgram
from ppema.programs.build import Programs
from ppema.programs.executor import failed_on
from ppema.training.setup import TrainingRun
from ppema.training.skipped import culprit

_WEIGHT = "weight"  # what a micro-batch counts, among the parts that a run fetches


@dataclass(frozen=True)
class Step:
    """The result of a step.

    samples, batches: their numbers; loss: the mean over the samples; skipped: why it was skipped, in words, or None; parts: of
    the loss by name; norms: of a measured step that was not skipped, by name.
    """

    samples: int
    batches: int
    loss: float
    skipped: str | None
    parts: dict[str, float] = field(default_factory=dict)
    norms: dict[str, float] = field(default_factory=dict)


class Stepper:
    """Runs the train program of a run, in its scope. begun: the micro-batches done of the next step.

    intact: whether the state is that before the run that failed, if one did. An operation that refuses its inputs fails before
    any update; but BatchNorm, for example, may have written its statistics before.
    """

    def __init__(self, run: TrainingRun, begun: Begun):
        self._run = run
        self._measures: Callable[[State], bool] = lambda state: False
        self.intact = True
        self._enter(run.programs)
        self._begun = begun
        # After a bad micro-batch, the rest of its step is left out.
        self._skipped: str | None = None

    def measure_when(self, measures: Callable[[State], bool]) -> None:
        """Measure the norms of the step after each state of which `measures` is true. The run must have `train.log_norms`."""
        assert self._programs.measured is not None, "the run has no program that measures"
        self._measures = measures

    @property
    def unfinished(self) -> Begun | None:
        """The progress of the next step, which a checkpoint must hold. None: the step has not begun, or will be skipped."""
        return self._begun if self._begun.batches and self._skipped is None else None

    def run(self, batch: Batch, state: State) -> Step | None:
        """Run one batch of the step after `state`. Returns the step with its last batch, and None before.

        The step updates weights and averages once, and moves the learning rate on. A step with a non-finite loss or gradient is
        skipped, and changes neither.
        """
        step = self._run_batch(batch, state)
        schedule, config = self._run.programs.lr, self._run.config
        # The last step prepares no next rate: some schedules raise beyond their length.
        last = state.step + 1 >= self._run.horizon.total_steps
        if step is not None and step.skipped is None and not isinstance(schedule, ReduceOnPlateau) and not last:
            advance(schedule, config)
        return step

    def _run_batch(self, batch: Batch, state: State) -> Step | None:
        programs = self._run.programs.at(state.step)
        if programs is not self._programs:
            self._run.enter(programs)
            self._enter(programs)
        begun, samples = self._begun, len(batch.indices)
        seed = step_seed(self._run.config.seed, state.step, begun.batches)
        measured = self._measures(state)
        if self._accumulation is None:
            loss, skipped, parts = self._once(batch, seed, {}, measured)
            return Step(samples, 1, loss, skipped, parts, self._norms(measured, skipped))
        ends = begun.batches + 1 == self._run.micro_batches.of_step(state)
        measured = measured and ends  # the last micro-batch makes the step
        if self._skipped is None:
            more = feed_of(begins=not begun.batches, ends=ends)
            loss, self._skipped, parts = self._once(batch, seed, more, measured)
            begun = begun.plus(samples, parts.pop(_WEIGHT), loss, parts)
        else:
            begun = begun.plus(samples, 0.0, 0.0, {})
        if not ends:
            self._begun = begun
            return None
        norms = self._norms(measured, self._skipped)
        step = Step(begun.samples, begun.batches, begun.mean, self._skipped, begun.means, norms)
        self._begun, self._skipped = Begun(), None
        return step

    def _enter(self, programs: Programs) -> None:
        """Run the train program of `programs`, those of a phase, from now on."""
        self._programs = programs
        self._accumulation = programs.accumulation
        self._plain = _Fetched.of(programs.train, programs)
        self._measured = None if programs.measured is None else _Fetched.of(programs.measured.main, programs.measured)

    def _norms(self, measured: bool, skipped: str | None) -> dict[str, float]:
        made = self._programs.measured
        return made.norms.read(self._run.scope) if measured and skipped is None and made and made.norms else {}

    def _once(
        self, batch: Batch, seed: int, more: Mapping[str, np.ndarray], measured: bool
    ) -> tuple[float, str | None, dict[str, float]]:
        """Run the program once. Returns the loss, why the run was skipped, and parts.

        more: inputs beside the batch; measured: whether the program that measures norms runs.
        """
        run, programs = self._run, self._programs
        generators.seed(seed)
        feed = {**programs.model.inputs.feed(batch, run.train_loader), **more}
        if programs.mixing is not None:
            feed |= programs.mixing.feed(seed, len(batch.indices))
        made = self._measured if measured and self._measured is not None else self._plain
        try:
            loss, finite, *parts = run.executor.run(made.program, feed, made.variables)
        except TrainingError as error:
            self.intact = not programs.guard.moved
            raise failed_on(batch, run.train_loader.label, error) from error
        skipped = None if np.asarray(finite).all() else culprit(run, programs.guard, batch)
        return _number(loss), skipped, dict(zip(made.parts, map(_number, parts), strict=True))


@dataclass(frozen=True)
class _Fetched:
    """A train program and what its runs return. variables: the loss, whether the run was finite, and `parts`, by name."""

    program: Program
    variables: tuple[Variable, ...]
    parts: tuple[str, ...]

    @classmethod
    def of(cls, program: Program, made: Programs | TrainProgram) -> _Fetched:
        assert made.guard is not None, "every training step has a FinitePass"
        parts = dict(made.parts)
        if made.accumulation is not None:
            parts[_WEIGHT] = made.accumulation.weight
        return cls(program, (made.loss, made.guard.finite, *parts.values()), tuple(parts))


def _number(array: np.ndarray) -> float:
    return float(np.asarray(array).reshape(()))
