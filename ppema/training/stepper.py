"""Runs the train program: once for each step, or once for each micro-batch of a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from ppema.checkpoint.begun import Begun
from ppema.checkpoint.state import State, step_seed
from ppema.data import Batch
from ppema.data.bad_sample import bad_sample
from ppema.errors import PeerError, TrainingError
from ppema.ir import Program, Variable, generators
from ppema.optimizers.optimizer import advance
from ppema.optimizers.schedules import ReduceOnPlateau
from ppema.passes.accumulation import feed_of
from ppema.passes.parallel.reduction import LOSSES, place_of_rank
from ppema.passes.target import TrainProgram
from ppema.programs.build import Programs
from ppema.programs.executor import failed_on
from ppema.training.checks.failed_step import written_before_a_failure
from ppema.training.checks.skipped import culprit
from ppema.training.setup import TrainingRun

NO_FIGURES: Mapping[str, float] = MappingProxyType({})
_WEIGHT = "weight"  # what a micro-batch counts, among the parts that a run fetches


class Step(NamedTuple):
    """The result of a step.

    samples, batches: their numbers; loss: the mean over the samples; skipped: why it was skipped, in words, or None; parts: of
    the loss by name; norms: of a measured step that was not skipped, by name; stops: whether a rank was asked to stop, None if
    one process trains.
    """

    samples: int
    batches: int
    loss: float
    skipped: str | None
    parts: Mapping[str, float] = NO_FIGURES
    norms: Mapping[str, float] = NO_FIGURES
    stops: bool | None = None


class Stepper:
    """Runs the train program of a run, in its scope. begun: the micro-batches done of the next step.

    changed: what a run that failed may have changed, in a few words; None: nothing. An operation that refuses its inputs fails
    before any update; but BatchNorm, for example, may have written its statistics before.
    """

    def __init__(self, run: TrainingRun, begun: Begun):
        self._run = run
        self._measures: Callable[[State], bool] = lambda state: False
        self.changed: str | None = None
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

    @property
    def unsavable(self) -> bool:
        """Whether the next step has begun, and no checkpoint can hold its progress."""
        return False

    def part(self) -> None:
        """This process does other work before the next step, such as writing a checkpoint."""

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
        self._enter_phase(state)
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

    def _enter_phase(self, state: State) -> None:
        """Run the programs of the phase in which the step after `state` is."""
        programs = self._run.programs.at(state.step)
        if programs is not self._programs:
            self._run.enter(programs)
            self._enter(programs)

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
        made = self._made(measured)
        loss, finite, *parts = self._fetch(made, batch, seed, seed, more)
        return _number(loss), self._cause(finite, batch), made.named(parts)

    def _made(self, measured: bool) -> _Fetched:
        return self._measured if measured and self._measured is not None else self._plain

    def _cause(self, finite: np.ndarray, batch: Batch) -> str | None:
        """Why the run was skipped, in words; None if it was not."""
        if finite.item():
            return None
        return culprit(self._run, self._programs.guard, bad_sample(batch, self._run.train_loader.label))

    def _fetch(self, made: _Fetched, batch: Batch, seed: int, mixed: int, more: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Run a program on a batch. seed: of dropout; mixed: of the draws of `mix`; more: inputs beside the batch."""
        run, programs = self._run, self._programs
        generators.seed(seed)
        feed = {**programs.model.inputs.feed(batch, run.train_loader), **more}
        if programs.mixing is not None:
            feed |= programs.mixing.feed(mixed, len(batch.indices))
        try:
            return run.executor.run(made.program, feed, made.variables)
        except TrainingError as error:
            self.changed = written_before_a_failure(run, programs)
            found = run.world.explain(error)
            raise found if isinstance(found, PeerError) else failed_on(batch, run.train_loader.label, error) from error


class RankStepper(Stepper):
    """A Stepper of one rank. A run of the train program waits for the other ranks, which must be at the same step.

    A step of several micro-batches sums over the ranks once, with the last of them. A non-finite gradient is found there only.
    The ranks meet before that, as one may have fallen behind by more than the 30 seconds that Paddle waits.
    """

    def __init__(self, run: TrainingRun, begun: Begun, asked: Callable[[], bool]):
        """asked: whether this rank was asked to stop."""
        self._used: set[int] = set()
        super().__init__(run, begun)
        self._asked = asked
        # Whether a rank may have had other work since the last step. The ranks then meet before the next one: inside Paddle
        # they could wait for 30 seconds only.
        self._apart = True
        # This rank's samples in the micro-batches of the next step. One process did those before, as the first rank.
        self._own = begun.samples if run.world.first else 0

    @property
    def unfinished(self) -> Begun | None:
        """None: a checkpoint holds no sums of micro-batches, as each rank has its own."""
        return None

    @property
    def unsavable(self) -> bool:
        """See `Stepper.unsavable`."""
        return self._begun.batches > 0

    def part(self) -> None:
        """See `Stepper.part`. The ranks meet before the next step."""
        self._apart = True

    def _run_batch(self, batch: Batch, state: State) -> Step | None:
        self._enter_phase(state)
        run, begun, accumulation = self._run, self._begun, self._accumulation
        seed, micro_batch = run.config.seed, begun.batches
        seeds = step_seed(seed, state.step, micro_batch, run.world.ranks.rank), step_seed(seed, state.step, micro_batch)
        samples = begun.samples + batch.size
        self._own += round(batch.share * batch.size)
        shares = {"share": batch.share, "samples": batch.size, "of_step": self._own / samples}
        place = place_of_rank(stop=self._asked(), step=state.step, **shares)
        ends = accumulation is None or micro_batch + 1 == run.micro_batches.of_step(state)
        if not ends:
            assert self._summing is not None, "steps of several micro-batches have a program for those before the last"
            running = f"running micro-batch {micro_batch + 1} of step {state.step + 1}"
            run.world.enter(running, "slow" if self._prepares(self._summing) else "alone")
            more = place | feed_of(begins=not micro_batch, ends=False)
            loss, *values = self._fetch(self._summing, batch, *seeds, more)
            parts = self._summing.named(values)
            self._begun = begun.plus(batch.size, parts.pop(_WEIGHT), _number(loss), parts)
            return None
        measured = self._measures(state)
        made = self._made(measured)
        prepares = self._prepares(made)
        if self._apart or prepares or micro_batch or not run.train_loader.quick:
            run.world.meet(f"step {state.step + 1}")
            self._apart = False
        run.world.enter(f"running step {state.step + 1}", "slow" if prepares else "together")
        if accumulation is not None:
            place |= feed_of(begins=not micro_batch, ends=True)
            sums = [begun.loss, *(begun.parts.get(name, 0.0) for name in made.parts)]
            place[LOSSES] = np.array(sums, np.float32)
        loss, finite, signals, *values = self._fetch(made, batch, *seeds, place)
        assert self._programs.reduction is not None, "the program of a rank has a ReducePass"
        stops = self._programs.reduction.stops(signals, state.step)
        skipped = self._cause(finite, batch)
        norms = self._norms(measured, skipped)
        self._begun, self._own = Begun(), 0
        return Step(samples, micro_batch + 1, _number(loss), skipped, made.named(values), norms, stops)

    def _enter(self, programs: Programs) -> None:
        super()._enter(programs)
        summing = programs.summing
        self._summing = None if summing is None else _Fetched.of(summing.main, summing)
        self._used.clear()

    def _prepares(self, made: _Fetched) -> bool:
        """Whether the next run of a program is its first in this phase, before which Paddle prepares it."""
        first = id(made) not in self._used
        self._used.add(id(made))
        return first

    def _cause(self, finite: np.ndarray, batch: Batch) -> str | None:
        if finite.item():
            return None
        # All ranks skip the step, and the bad sample may be that of any of them.
        world, run = self._run.world, self._run
        found = bad_sample(batch, run.train_loader.label) or ""
        samples = [each.decode() for each in world.gather(found.encode(), "the search for a bad sample")]
        return culprit(run, self._programs.guard, next(filter(None, samples), None))


@dataclass(frozen=True)
class _Fetched:
    """A train program and what its runs return.

    variables: the loss; whether the run was finite, if the program checks it; the signals of the ranks, if it sums over them;
    then `parts`, by name.
    """

    program: Program
    variables: tuple[Variable, ...]
    parts: tuple[str, ...]

    @classmethod
    def of(cls, program: Program, made: Programs | TrainProgram) -> _Fetched:
        """What the runs of `program` return, which is a program of `made`."""
        leading = [made.loss]
        if made.guard is not None:
            leading.append(made.guard.finite)
        if made.reduction is not None:
            leading.append(made.reduction.signals)
        parts = dict(made.parts)
        if made.accumulation is not None and made.reduction is None:
            parts[_WEIGHT] = made.accumulation.weight
        return cls(program, (*leading, *parts.values()), tuple(parts))

    def named(self, values: Sequence[np.ndarray]) -> dict[str, float]:
        """The parts by name. values: what a run returned of them."""
        return dict(zip(self.parts, map(_number, values), strict=True))


def _number(array: np.ndarray) -> float:
    """The number in an array of one element."""
    return float(array.item())
