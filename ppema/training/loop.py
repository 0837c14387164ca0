"""The training loop."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import paddle

from ppema.checkpoint.begun import Begun
from ppema.checkpoint.best import Best
from ppema.checkpoint.links import check_links
from ppema.checkpoint.lock import Lock, locked
from ppema.checkpoint.paths import checkpoints_of, output_of
from ppema.checkpoint.state import BEGINNING, State
from ppema.config import Config, to_yaml
from ppema.data import Batch
from ppema.errors import TrainingError
from ppema.evaluation.evaluate import evaluate
from ppema.log.average_health import Health
from ppema.log.interval import Interval
from ppema.log.log import RunLog
from ppema.log.memory import memory_figures
from ppema.log.progress import progress
from ppema.optimizers.optimizer import advance
from ppema.optimizers.schedules import ReduceOnPlateau, rates
from ppema.posthoc.snapshots import Snapshots, snapshots_of
from ppema.programs.device import place_of
from ppema.programs.model.normalization import changes, is_unmeasured, kept_by_run
from ppema.training.due import Due
from ppema.training.evaluations import Evaluations
from ppema.training.initial import Restored, begin_with
from ppema.training.resuming.refusals import check_directions
from ppema.training.resuming.resume import Start, open_run
from ppema.training.save import Saver
from ppema.training.setup import TrainingRun, prepare_training
from ppema.training.skipped import ADVICE, overflows, too_many, where
from ppema.training.statecheck import StateCheck
from ppema.training.stepper import Step, Stepper
from ppema.training.stop import stop_requests


@dataclass(frozen=True)
class Result:
    """The result of a training run.

    state: its position; metrics: the last evaluation of each set of weights; best: by monitored metric; output: its folder;
    stopped_by: the number of the signal that ended it early, or None; early_stop: why `train.early_stop` ended it, or None.
    """

    state: State
    metrics: dict[str, dict[str, float]]
    best: dict[str, Best]
    output: Path
    stopped_by: int | None = None
    early_stop: str | None = None


def train(config: Config, *, resume: str = "auto", extend: bool = False) -> Result:
    """`ppema.api.train`, once paddle is loaded. Arguments, result and errors are the same."""
    known = config
    if resume != "never" and is_unmeasured(config):
        # Of its classes, `open_run` compares those of the data with those of the checkpoint.
        known = config.replace(data=kept_by_run(config, resume).data.replace(classes=config.data.classes))
    with (
        closing(prepare_training(known)) as run,
        paddle.static.scope_guard(run.scope),
        locked(output_of(config)) as lock,
    ):
        check_links(output_of(config))
        start = open_run(run, checkpoints_of(config, run.horizon), resume, extend=extend)
        if known is not config:
            start = replace(start, said=(*start.said, *changes(known, run.train_loader)))
        restored = None if start.state.step or start.begun.batches else begin_with(run)
        return Trainer(run, start, restored).go(lock)


def dry_run(config: Config, say: Callable[[str], None] = lambda line: None) -> float:
    """Build all of `config`, run one step and one evaluation, and write nothing. Returns the step's loss; raises as `train`.

    say: receives lines: the learning rates, and the result of `init_from` for a run without checkpoints.
    """
    with closing(prepare_training(config)) as run, paddle.static.scope_guard(run.scope):
        if new := not checkpoints_of(config).exists():
            check_directions(config)
        restored = begin_with(run) if new else None
        for line in restored.summary() if restored else ():
            say(line)
        say(f"learning rate: {', '.join(map(str, rates(run.programs.lr, run.horizon.total_steps)))}")
        trainer = Trainer(run, Start())
        with closing(run.train_loader.epoch(0)) as batches:
            step = next(filter(None, (trainer.step(batch, BEGINNING) for batch in batches)))
        if step.skipped is not None and not overflows(run):
            raise TrainingError(f"{where(BEGINNING, step.batches)} would be skipped: {step.skipped}: {ADVICE}")
        if what := StateCheck(run, BEGINNING).culprit():
            raise TrainingError(f"after {where(BEGINNING, step.batches)} {what} would not be finite: {ADVICE}")
        for weights, test in run.tests.items():
            run.recalibrator.measure(weights)
            evaluate(run.executor, test, run.programs.model.inputs, run.eval_loader)
    return step.loss


class Trainer:
    """The loop over one run."""

    def __init__(self, run: TrainingRun, start: Start, restored: Restored | None = None):
        self._run = run
        self._start = start
        self._restored = restored
        self._evaluations = Evaluations(run, start)
        self._stepper = Stepper(run, start.begun)
        self._finite = StateCheck(run, start.state)

    def go(self, lock: Lock) -> Result:
        """Train to the end, or until a signal stops the run. Call it in the run's scope, while `lock` holds its folder."""
        state, config, run, evaluations = self._start.state, self._run.config, self._run, self._evaluations
        early, schedule = evaluations.stopping.reason(), run.programs.lr
        due = Due(run, state, stopped=early is not None)
        output, snapshots, start = output_of(config), snapshots_of(config), self._start
        go_on = config.train.failed_save == "go_on"
        if config.train.log_norms:
            self._stepper.measure_when(due.log.due_next)
        with (
            stop_requests() as stop,
            progress(due.last, state.step) as bar,
            RunLog(output, bar, step=state.step, origin=start.origin, keep=start.keep, go_on=go_on) as log,
            Saver(run, lock, log, go_on=go_on) as saver,
            closing(self._batches(state, due.last, start.begun.batches)) as batches,
        ):
            self._open(log, snapshots, due.last)
            health, interval = Health(run.programs, run.scope, state.updates), Interval(start.interval)
            stopped_by, in_a_row, written = None, 0, state
            for batch in batches:
                interval.arrived()
                lr = float(schedule())
                before, step = state, self.step(batch, state)
                if step is None:
                    interval.ran(len(batch.indices))
                    begun, stopped_by = self._stepper.unfinished, stop.signal
                    if begun is not None and stopped_by:
                        self._stop_within(begun, written, state, interval, saver, log)
                        log.say(f"stopped by signal {stopped_by} in step {state.step + 1}, of which {begun} are saved")
                        break
                    continue
                skipped = step.skipped is not None
                state = state.advance(step.samples, run.micro_batches.per_epoch, batches=step.batches, skipped=skipped)
                interval.add(step.loss if step.skipped is None else None, len(batch.indices), step.parts)
                bar.update(state.step, step.loss, lr, interval.rate)
                in_a_row = 0 if step.skipped is None else in_a_row + 1
                if step.skipped is not None:
                    log.warn([f"{where(before, step.batches)} is skipped: {step.skipped}"])
                # A skipped step changes nothing, so a value that is non-finite after it was so before.
                written = state if step.skipped is None else before
                if released := run.programs.released(state.step):
                    log.say(f"no longer frozen after step {state.step}: {released} of the variables")
                if step.skipped is not None or due.any(state):
                    self._check(written, state, saver)
                if due.log.due(state):
                    interval = self._log(log, state, step, interval, lr, health)
                improved: list[str] = []
                if due.evaluate.due(state):
                    log.warn(health.too_long(state.updates))
                    improved = evaluations.measure(state, log)
                if due.evaluate.regular(state):
                    early = evaluations.judge(state, log)
                if early and not due.log.due(state):
                    interval = self._log(log, state, step, interval, lr, health)
                if due.snapshot and (early or due.snapshot.due(state)):
                    saver.submit(snapshots.take(config, run.programs, run.scope, run.horizon, state))
                lowered = overflows(run) if step.skipped is not None else 0
                failure = (
                    too_many(before, step.skipped, config.train.max_skipped, in_a_row, lowered, step.batches)
                    or evaluations.failure
                )
                # The signal is read only once, so a later signal stops the run after the next step has been saved.
                stopped_by = stop.signal
                if improved or due.save.due(state) or early or stopped_by or failure:
                    self._check(written, state, saver)
                    evaluations.recalibrate(state, log)
                    waiting = evaluations.stopping.waiting
                    saver.save(state, evaluations.metrics, evaluations.best, interval.losses, improved, waiting=waiting)
                saver.check()
                # Saving recalibrates too, and may have failed.
                failure = failure or evaluations.failure
                if failure:
                    saver.finish()
                    raise failure
                if stopped_by:
                    saver.finish()
                    log.say(f"stopped by signal {stopped_by} after step {state.step}, which is saved")
                    break
                if early:
                    saver.finish()
                    log.say(f"stopped early after step {state.step}, which is saved: {early}")
                    break
                interval.resume()
            saver.finish()
        return Result(state, evaluations.metrics, evaluations.best, output, stopped_by, early)

    def _stop_within(self, begun: Begun, written: State, state: State, interval: Interval, saver: Saver, log: RunLog) -> None:
        """Save the run within the step after `state`. Raises TrainingError if the state is not finite, or can not be saved."""
        evaluations = self._evaluations
        self._check(written, state, saver)
        if state.step:
            # The step may be the first of a phase. The averages belong to the phase before.
            self._run.recalibrate_by(self._run.programs.at(state.step - 1))
            evaluations.recalibrate(state, log)
        waiting = evaluations.stopping.waiting
        saver.save(state, evaluations.metrics, evaluations.best, interval.losses, [], waiting=waiting, begun=begun)
        saver.finish()
        if evaluations.failure:
            raise evaluations.failure

    def _open(self, log: RunLog, snapshots: Snapshots, last: int) -> None:
        """Write config.yml, and how the run starts. last: the step after which it ends."""
        run, start = self._run, self._start
        log.config(to_yaml(run.config))
        for line in start.said:
            log.say(line)
        for path in snapshots.go_on_from(start.state.step, keep=start.keep):
            log.say(f"set aside as {path}")
        log.warn(f"{each}; no average can be built with it" for each in snapshots.damaged())
        if start.begun.batches:
            log.say(f"resuming in step {start.state.step + 1} of {last}, of which {start.begun} are done")
        elif start.state.step:
            log.say(f"resuming at step {start.state.step} of {last}")
        if self._restored:
            for line in self._restored.summary():
                log.say(line)
            log.note(f"init_from: {'  '.join(filter(None, row))}" for row in self._restored.rows())
        if run.programs.placement is not None and run.programs.placement.any:
            log.note([f"onednn: {run.kernels}"])

    def _log(self, log: RunLog, state: State, step: Step, interval: Interval, lr: float, health: Health) -> Interval:
        """Log `interval`, which ends in `state`. step, lr: the last step and its learning rate. Returns the next interval."""
        run = self._run
        log.train(
            state.step,
            state.step / run.horizon.steps_per_epoch,
            interval,
            lr=lr,
            skipped=state.skipped,
            health=health.measure(state.updates),
            norms=step.norms,
            memory=memory_figures(place_of(run.config.runtime.device)),
        )
        log.warn(health.stopped())
        return Interval()

    def _batches(self, state: State, last: int, begun: int = 0) -> Generator[Batch, None, None]:
        """The batches after `state`, up to step `last`, without the first `begun`.

        The caller closes it: if the garbage collector does, Python ignores a Ctrl-C while the loader's thread ends.
        """
        loader, micro_batches = self._run.train_loader, self._run.micro_batches
        left = micro_batches.before(last) - micro_batches.before(state.step) - begun
        epoch, start = state.epoch, state.batch + begun
        while left > 0:
            with closing(loader.epoch(epoch, start)) as batches:
                yield from islice(batches, left)
            left -= loader.steps_per_epoch - start
            epoch, start = epoch + 1, 0

    def step(self, batch: Batch, state: State) -> Step | None:
        """Run one batch of the step after `state`. Returns the step with its last batch, and None before."""
        step, schedule = self._stepper.run(batch, state), self._run.programs.lr
        # The last step prepares no next rate: some schedules raise beyond their length.
        last = state.step + 1 >= self._run.horizon.total_steps
        if step is not None and step.skipped is None and not isinstance(schedule, ReduceOnPlateau) and not last:
            advance(schedule, self._run.config)
        return step

    def _check(self, written: State, state: State, saver: Saver) -> None:
        """Raises TrainingError if the state is not finite.

        Called before anything of `state` is logged, measured or saved. written: the state after the last step that was not
        skipped.
        """
        if failure := self._finite.failure(written, state, self._batches, saver.newest):
            raise failure
