"""The course of a run: its position, the events after each step, and its end, whether planned or not."""

from __future__ import annotations

from contextlib import suppress

from ppema.checkpoint.begun import Begun
from ppema.checkpoint.manifest import Owed
from ppema.data import Batch, GivenUp
from ppema.errors import DataError, DivergedError, PeerError, PpemaError, TrainingError
from ppema.log.average_health import Health
from ppema.log.interval import Interval
from ppema.log.memory import memory_figures
from ppema.log.terminal.progress import Bar
from ppema.posthoc.snapshots import snapshots_of
from ppema.programs.device import place_of
from ppema.programs.executor import FailedBatchError
from ppema.training.checks.skipped import in_vain, overflows, too_many, where
from ppema.training.checks.statecheck import StateCheck
from ppema.training.due import Due
from ppema.training.evaluations import Evaluations
from ppema.training.parallel.common_end import end_together, fail_together
from ppema.training.parallel.same_state import check_same_state
from ppema.training.parallel.unheard import AnySaver, Log
from ppema.training.resuming.resume import Start
from ppema.training.setup import TrainingRun
from ppema.training.stepper import NO_FIGURES, Step, Stepper
from ppema.training.stop import SharedStop, StopRequest


class Course:
    """A run on its way from `start`.

    state: after the last step; early: why `train.early_stop` ended the run, or None; stopped_by: the number of the signal that
    ended it, or None.
    """

    def __init__(
        self,
        run: TrainingRun,
        start: Start,
        stepper: Stepper,
        evaluations: Evaluations,
        due: Due,
        stop: StopRequest | SharedStop,
        bar: Bar,
        log: Log,
        saver: AnySaver,
    ):
        self.state = start.state
        self.early = evaluations.stopping.reason()
        self.stopped_by: int | None = None
        self._run, self._stepper, self._evaluations = run, stepper, evaluations
        self._due, self._stop, self._bar, self._log, self._saver = due, stop, bar, log, saver
        self._snapshots = snapshots_of(run.config)
        self._finite = StateCheck(run, start.state)
        self._health = Health(run.programs, run.scope, start.state.updates, run.world)
        self._interval = Interval(start.interval, log.time)
        self._lr = float(run.programs.lr())
        # The state after the last step that was not skipped.
        self._written = start.state
        self._skipped: str | None = None
        self._norms, self._in_a_row = NO_FIGURES, 0
        self._too_many: DivergedError | None = None
        self._improved: list[str] = []
        self._owed: Owed | None = start.owed
        self._saved = start.state, start.begun, start.owed

    def settle(self) -> bool:
        """Do what the process before left undone after its last step. Returns whether the run ends here."""
        if self._owed is None:
            return False
        if self._owed == "evaluation":
            self._evaluate()
            self._judge()
            self._snapshot()
        self._save(now=True)
        return self._ends()

    def go_on(self, batch: Batch) -> bool:
        """Run one batch. After the last one of a step, do all that is due. Returns whether the run ends here.

        Raises TrainingError for a state that is not finite, for too many skipped steps, and if the state can not be saved.
        """
        self._interval.arrived()
        self._bar.arrived()
        self._lr = float(self._run.programs.lr())
        step = self._stepper.run(batch, self.state)
        if step is None:
            self._interval.ran(batch.size)
            return self._ends_within()
        self._run.world.enter(f"logging, evaluating or saving after step {self.state.step + 1}", "slow")
        if self._count(step, batch.size):
            self._log_interval()
            self._evaluate()
            self._judge()
            self._snapshot()
            self._stepper.part()
        self._save()
        return self._ends()

    def stop(self) -> None:
        """Save and stop after a signal, while the data does not come. Raises TrainingError as `go_on` does."""
        self.stopped_by = self._stop.signal
        self._save_unplanned()
        self._log.say(f"stopped by signal {self.stopped_by} {self._place()}")

    def break_off(self, error: PpemaError) -> str | None:
        """Save after an error of the data or of another rank. Returns what is saved, in words.

        None: nothing happened since the last save, or another rank saves.
        """
        world = self._run.world
        if self._is_saved() or not world.first:
            return None
        # The other ranks must not wait for this one meanwhile.
        world.failed(error)
        with suppress(PeerError):
            world.enter("saving after a fault", "slow")
        state = f"The state after step {self.state.step}"
        if self._stepper.unsavable:
            return f"{state} is not saved, because the next step has begun"
        if self._run.shards:
            return f"{state} is not saved, because the other ranks hold parts of its averages"
        if self._stepper.changed is not None:
            return f"{state} is not saved, because the failed step may have changed {self._stepper.changed}"
        try:
            self._save_unplanned()
        except TrainingError as failure:
            self._log.warn([str(failure)])
            return f"{state} is not saved"
        begun = self._stepper.unfinished
        within = f"; of step {self.state.step + 1}, {begun} saved too" if begun else ""
        undone = {"evaluation": ", without its evaluation", "statistics": ", with the statistics before", None: ""}[self._owed]
        return f"{state} is saved{undone}{within}: the same command goes on from there"

    def finish(self) -> None:
        """Wait until everything is written. Warn if the run did not train in the end; raise TrainingError if it never did."""
        self._wait_for_writes()
        if self.stopped_by is not None:
            return
        if warning := in_vain(self.state, self._skipped, self._in_a_row):
            if not self.state.updates and (self.early or self.state.step == self._run.horizon.total_steps):
                fail_together(self._run.world, DivergedError(f"{warning}. The state is saved"))
            self._log.warn([warning])

    def _count(self, step: Step, samples: int) -> bool:
        """Move on by `step`. samples: of its last batch. Returns whether any event is due after it."""
        run, before, skipped = self._run, self.state, step.skipped is not None
        self.state = before.advance(step.samples, run.micro_batches.per_epoch, batches=step.batches, skipped=skipped)
        self._skipped, self._norms = step.skipped, step.norms
        self._stop.agree(step.stops)
        self._interval.add(None if skipped else step.loss, samples, step.parts)
        self._bar.update(self.state.step, step.loss, self._lr, self._interval.rate)
        self._in_a_row = self._in_a_row + 1 if skipped else 0
        if skipped:
            self._log.warn([f"{where(before, step.batches)} is skipped: {step.skipped}"])
        # A skipped step changes nothing, so a value that is non-finite after it was so before.
        self._written = before if skipped else self.state
        if released := run.programs.released(self.state.step):
            self._log.say(f"no longer frozen after step {self.state.step}: {released} of the variables")
        if (due := self._due.any(self.state)) or skipped:
            self._check()
        lowered, limit = overflows(run) if skipped else 0, run.config.train.max_skipped
        self._too_many = too_many(before, step.skipped, limit, self._in_a_row, lowered, step.batches)
        return due

    def _log_interval(self, *, now: bool = False) -> None:
        """Log the interval if it ends with this step. now: it does."""
        run, state = self._run, self.state
        if not now and not self._due.log.due(state):
            return
        self._log.train(
            state.step,
            state.step / run.horizon.steps_per_epoch,
            self._interval,
            lr=self._lr,
            skipped=state.skipped,
            health=self._health.measure(state.updates),
            norms=self._norms,
            memory=memory_figures(place_of(run.config.runtime.device)),
        )
        self._log.warn(self._health.stopped())
        self._interval = Interval(total=self._log.time)

    def _evaluate(self) -> None:
        if not self._due.evaluate.due(self.state):
            return
        self._owed = "evaluation"
        self._log.warn(self._health.too_long(self.state.updates))
        self._improved = self._evaluations.measure(self.state, self._log)
        self._owed = None

    def _judge(self) -> None:
        """Let a regular evaluation set the rate of ReduceOnPlateau and end the run. The log interval ends with the run."""
        if self._due.evaluate.regular(self.state):
            self.early = self._evaluations.judge(self.state, self._log)
            if self.early and not self._due.log.due(self.state):
                self._log_interval(now=True)

    def _snapshot(self) -> None:
        run, state = self._run, self.state
        if self._due.snapshot and (self.early or self._due.snapshot.due(state)) and (run.world.first or run.shards):
            self._saver.submit(self._snapshots.take(run.config, run.programs, run.scope, run.horizon, state, run.shards))

    def _save(self, *, now: bool = False) -> None:
        """Save the run if that is due, if it ends here, or `now`. Raises the error that ends the run, once it is saved."""
        failure = self._too_many or self._evaluations.failure
        # The signal is read only once, so a later signal stops the run after the next step has been saved.
        self.stopped_by = self._stop.signal
        wanted = self._improved or self._due.save.due(self.state) or now
        if wanted or self.early or self.stopped_by or failure:
            self._check()
            self._owed = "statistics"
            self._evaluations.recalibrate(self.state, self._log)
            self._owed = None
            check_same_state(self._run, self.state.step)
            self._write(None)
        self._saver.check()
        # Saving recalibrates too, and may have failed.
        if failure := failure or self._evaluations.failure:
            self._saver.finish()
            fail_together(self._run.world, failure)

    def _ends(self) -> bool:
        """Whether the run ends after this step, which is saved."""
        if self.stopped_by:
            self._wait_for_writes()
            self._log.say(f"stopped by signal {self.stopped_by} {self._place()}")
        elif self.early:
            self._wait_for_writes()
            self._log.say(f"stopped early {self._place()}: {self.early}")
        self._interval.resume()
        return bool(self.stopped_by or self.early)

    def _ends_within(self) -> bool:
        """Whether a signal ends the run within a step, which is then saved."""
        if self._stepper.unfinished is None or self._stop.signal is None:
            return False
        self.stop()
        return True

    def _place(self) -> str:
        """Where the run stops, in words."""
        begun = self._stepper.unfinished
        if begun is not None:
            return f"in step {self.state.step + 1}, of which {begun} saved"
        return f"after step {self.state.step}, which is saved" if self.state.step else "before its first step"

    def _is_saved(self) -> bool:
        """Whether nothing happened since the last save, or since the start."""
        return self._saved == (self.state, self._stepper.unfinished or Begun(), self._owed)

    def _save_unplanned(self) -> None:
        """Save between the events of a step, or within the next step, unless nothing happened since the last save.

        Raises TrainingError if the state is not finite, or can not be saved.
        """
        if self._is_saved():
            return
        begun = self._stepper.unfinished
        self._check(together=False)
        if not self._run.world.alone:
            # A measurement needs all ranks.
            self._owed = self._owed or ("statistics" if self._run.programs.recalibrations and self.state.step else None)
        elif self.state.step and self._owed != "statistics":
            # The step may be the first of a phase. The averages belong to the phase before.
            self._run.recalibrate_by(self._run.programs.at(self.state.step - 1))
            try:
                self._evaluations.recalibrate(self.state, self._log)
            except (DataError, FailedBatchError, GivenUp):
                self._owed = self._owed or ("statistics" if begun is None else None)
        self._write(begun)
        self._saver.finish()
        if self._evaluations.failure:
            raise self._evaluations.failure

    def _write(self, begun: Begun | None) -> None:
        evaluations, losses = self._evaluations, self._interval.losses
        given = {"waiting": evaluations.stopping.waiting, "begun": begun, "owed": self._owed}
        self._bar.doing("saving")
        self._saver.save(self.state, evaluations.metrics, evaluations.best, losses, self._improved, **given)
        self._bar.doing("")
        self._improved = []
        self._saved = self.state, begun or Begun(), self._owed

    def _wait_for_writes(self) -> None:
        self._saver.finish()
        end_together(self._run.world)

    def _check(self, *, together: bool = True) -> None:
        """Raise TrainingError if the state is not finite. Called before anything of it is logged, measured or saved.

        together: all ranks call it.
        """
        if failure := self._finite.failure(self._written, self.state, self._saver.newest, together=together):
            fail_together(self._run.world, failure)
