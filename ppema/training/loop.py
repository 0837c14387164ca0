"""The training loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import paddle

from ppema.checkpoint.best import Best, mode_of
from ppema.checkpoint.links import check_links
from ppema.checkpoint.lock import Lock, locked
from ppema.checkpoint.paths import checkpoints_of, output_of
from ppema.checkpoint.state import BEGINNING, Every, State, step_seed
from ppema.config import RAW, Config, to_yaml
from ppema.data import Batch
from ppema.errors import AverageError, TrainingError
from ppema.evaluation.evaluate import evaluate
from ppema.ir import generators
from ppema.log.average_health import Health
from ppema.log.interval import Interval
from ppema.log.log import RunLog
from ppema.log.progress import progress
from ppema.optimizers.optimizer import advance
from ppema.optimizers.schedules import ReduceOnPlateau, rates
from ppema.posthoc.snapshots import snapshots_of
from ppema.training.initial import Restored, begin_with
from ppema.training.refusals import check_directions
from ppema.training.resume import Start, open_run
from ppema.training.save import Saver
from ppema.training.setup import TrainingRun, prepare_training
from ppema.training.skipped import ADVICE, culprit, too_many, where
from ppema.training.statecheck import StateCheck
from ppema.training.stop import stop_requests


@dataclass(frozen=True)
class Result:
    """The result of a training run.

    state: its position; metrics: the last evaluation of each set of weights; best: by monitored metric; output: its folder;
    stopped_by: the number of the signal that ended it early, or None.
    """

    state: State
    metrics: dict[str, dict[str, float]]
    best: dict[str, Best]
    output: Path
    stopped_by: int | None = None


def train(config: Config, *, resume: str = "auto", extend: bool = False) -> Result:
    """`ppema.api.train`, once paddle is loaded. Arguments, result and errors are the same."""
    with (
        closing(prepare_training(config)) as run,
        paddle.static.scope_guard(run.scope),
        locked(output_of(config)) as lock,
    ):
        check_links(output_of(config))
        start = open_run(run, checkpoints_of(config, run.horizon), resume, extend=extend)
        restored = None if start.state.step else begin_with(run)
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
        step = trainer.step(next(iter(run.train_loader.epoch(0))), BEGINNING)
        if step.skipped is not None:
            raise TrainingError(f"{where(BEGINNING)} would be skipped: {step.skipped}: {ADVICE}")
        if what := StateCheck(run, BEGINNING).culprit():
            raise TrainingError(f"after {where(BEGINNING)} {what} would not be finite: {ADVICE}")
        for weights, test in run.tests.items():
            run.recalibrator.measure(weights)
            evaluate(run.executor, test, run.programs.model.inputs, run.eval_loader)
    return step.loss


@dataclass(frozen=True)
class Step:
    """The result of a step. loss: of the batch; skipped: why it was skipped, in words, or None."""

    loss: float
    skipped: str | None


class Trainer:
    """The loop over one run. It keeps the best and the last evaluation between steps."""

    def __init__(self, run: TrainingRun, start: Start, restored: Restored | None = None):
        self._run = run
        self._start = start
        self._restored = restored
        self._state = start.state
        self._best = dict(start.best)
        self._metrics = dict(start.metrics)
        self._recalibrated: dict[str, int] = {}
        self._broken: TrainingError | None = None
        self._finite = StateCheck(run, start.state)

    def go(self, lock: Lock) -> Result:
        """Train to the end, or until a signal stops the run. Call it in the run's scope, while `lock` holds its folder."""
        state, config, run = self._state, self._run.config, self._run
        last = run.horizon.total_steps
        if config.train.stop_after is not None:
            last = min(last, run.horizon.steps(config.train.stop_after))
        log_every = Every(run.horizon.steps(config.train.log_every), last)
        eval_every = Every(run.horizon.steps(config.train.eval_every), last)
        save_every = Every(run.horizon.steps(config.train.save_every), last)
        snapshot_every = config.train.snapshot_every and Every(run.horizon.steps(config.train.snapshot_every), last)
        reports = [each for each in (log_every, eval_every, save_every, snapshot_every) if each]
        output, snapshots, start = output_of(config), snapshots_of(config), self._start
        go_on = config.train.failed_save == "go_on"
        with (
            stop_requests() as stop,
            progress(last, state.step) as bar,
            RunLog(output, bar, step=state.step, origin=start.origin, keep=start.keep, go_on=go_on) as log,
            Saver(run, lock, log, go_on=go_on) as saver,
            closing(self._batches(state, last)) as batches,
        ):
            log.config(to_yaml(config))
            for line in start.said:
                log.say(line)
            for path in snapshots.go_on_from(state.step, keep=start.keep):
                log.say(f"set aside as {path}")
            log.warn(f"{each}; no average can be built with it" for each in snapshots.damaged())
            if state.step:
                log.say(f"resuming at step {state.step} of {last}")
            if self._restored:
                for line in self._restored.summary():
                    log.say(line)
                log.note(f"init_from: {'  '.join(filter(None, row))}" for row in self._restored.rows())
            if run.programs.placement is not None and run.programs.placement.any:
                log.note([f"onednn: {run.kernels}"])
            health, interval = Health(run.programs, run.scope, state.updates), Interval(start.interval)
            stopped_by, in_a_row = None, 0
            for batch in batches:
                lr = float(run.programs.lr())
                before, step = state, self.step(batch, state)
                state = state.advance(len(batch.indices), run.horizon.steps_per_epoch, skipped=step.skipped is not None)
                interval.add(step.loss if step.skipped is None else None, len(batch.indices))
                bar.update(state.step, step.loss, lr, interval.rate)
                in_a_row = 0 if step.skipped is None else in_a_row + 1
                if step.skipped is not None:
                    log.warn([f"{where(before)} is skipped: {step.skipped}"])
                # A skipped step changes nothing, so a value that is non-finite after it was so before.
                written = state if step.skipped is None else before
                if step.skipped is not None or any(each.due(state) for each in reports):
                    self._check(written, state, saver)
                if log_every.due(state):
                    figures = {"loss": interval.losses.mean, "lr": lr, "skipped": state.skipped, "rate": interval.rate}
                    log.train(state.step, self._epoch(state), **figures, health=health.measure(state.updates))
                    log.warn(health.stopped())
                    interval = Interval()
                improved: list[str] = []
                if eval_every.due(state):
                    log.warn(health.too_long(state.updates))
                    improved = self._evaluate(state, log)
                if eval_every.regular(state) and isinstance(run.programs.lr, ReduceOnPlateau):
                    self._judge(run.programs.lr, state, log)
                if snapshot_every and snapshot_every.due(state):
                    saver.submit(snapshots.take(config, run.programs, run.scope, run.horizon, state))
                failure = too_many(before, step.skipped, config.train.max_skipped, in_a_row) or self._broken
                # The signal is read only once, so a later signal stops the run after the next step has been saved.
                stopped_by = stop.signal
                if improved or save_every.due(state) or stopped_by or failure:
                    self._check(written, state, saver)
                    self._save(saver, state, interval, improved, log)
                saver.check()
                # Saving recalibrates too, and may have failed.
                failure = failure or self._broken
                if failure:
                    saver.finish()
                    raise failure
                if stopped_by:
                    saver.finish()
                    log.say(f"stopped by signal {stopped_by} after step {state.step}, which is saved")
                    break
                interval.resume()
            saver.finish()
        return Result(state, self._metrics, self._best, output, stopped_by)

    def _batches(self, state: State, last: int) -> Generator[Batch, None, None]:
        """The batches after `state`, up to step `last`.

        The caller closes it: if the garbage collector does, Python ignores a Ctrl-C while the loader's thread ends.
        """
        loader, left = self._run.train_loader, last - state.step
        epoch, start = state.epoch, state.batch
        while left > 0:
            with closing(loader.epoch(epoch, start)) as batches:
                yield from islice(batches, left)
            left -= loader.steps_per_epoch - start
            epoch, start = epoch + 1, 0

    def step(self, batch: Batch, state: State) -> Step:
        """One optimizer step with one update of every average. A step with a non-finite loss or gradient is skipped."""
        programs = self._run.programs
        generators.seed(step_seed(self._run.config.seed, state.step))
        feed = programs.model.inputs.feed(batch, self._run.train_loader)
        loss, finite = self._run.executor.run(programs.train, feed, [programs.loss, programs.guard.finite])
        step = Step(float(np.asarray(loss).reshape(())), None if np.asarray(finite).all() else culprit(self._run, batch))
        # The last step prepares no next rate: some schedules raise beyond their length.
        last = state.step + 1 >= self._run.horizon.total_steps
        if step.skipped is None and not isinstance(programs.lr, ReduceOnPlateau) and not last:
            advance(programs.lr, self._run.config)
        return step

    def _evaluate(self, state: State, log: RunLog) -> list[str]:
        """Evaluate every set of weights whose statistics can be measured. Returns the monitored metrics that improved."""
        run, measured = self._run, set()
        for weights, test in run.tests.items():
            if not self._recalibrate(weights, state, log):
                continue
            measured.add(weights)
            self._metrics[weights] = evaluate(run.executor, test, run.programs.model.inputs, run.eval_loader)
            log.evaluation(state.step, self._epoch(state), weights, self._metrics[weights])
        improved = []
        for monitor in run.config.train.monitors:
            weights, _, metric = monitor.partition("/")
            if weights not in measured:
                continue
            candidate = Best(monitor, self._metrics[weights][metric], state.step)
            # A non-finite value is never the best, and JSON can not hold it.
            if not math.isfinite(candidate.value):
                continue
            mode = mode_of(metric, run.config.train.monitors, run.config.train.mode)
            if monitor not in self._best or candidate.beats(self._best[monitor], mode):
                self._best[monitor] = candidate
                improved.append(monitor)
        return improved

    def _judge(self, schedule: ReduceOnPlateau, state: State, log: RunLog) -> None:
        """Pass the last evaluation's loss to the schedule, unless it is non-finite.

        Paddle would keep a NaN or an infinity as the best loss, and no later loss would be better.
        """
        loss = self._metrics[RAW]["loss"]
        if math.isfinite(loss):
            advance(schedule, self._run.config, loss)
        else:
            log.warn([f"the evaluation after step {state.step} has the loss {loss}: it does not change the learning rate"])

    def _save(self, saver: Saver, state: State, interval: Interval, improved: Sequence[str], log: RunLog) -> None:
        for weights in self._run.programs.recalibrations:
            self._recalibrate(weights, state, log)
        saver.save(state, self._metrics, self._best, interval.losses, improved)

    def _recalibrate(self, weights: str, state: State, log: RunLog) -> bool:
        """Measure the statistics of `weights` after the step that led to `state`, once.

        Returns whether that succeeded. If not, the run ends after its state is saved.
        """
        if self._recalibrated.get(weights) != state.step:
            try:
                self._run.recalibrator.measure(weights, lambda line: log.warn([line]))
            except AverageError as error:
                why = (
                    f"the average {weights!r} after step {state.step}: {error}. The state is saved, with the statistics before"
                )
                self._broken = self._broken or TrainingError(why)
                return False
            self._recalibrated[weights] = state.step
        return True

    def _check(self, written: State, state: State, saver: Saver) -> None:
        """Raises TrainingError if the state is not finite.

        Called before anything of `state` is logged, measured or saved. written: the state after the last step that was not
        skipped.
        """
        if failure := self._finite.failure(written, state, self._batches, saver.newest):
            raise failure

    def _epoch(self, state: State) -> float:
        return state.step / self._run.horizon.steps_per_epoch
