"""The training loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

import paddle

from ppema.checkpoint.begun import Begun
from ppema.checkpoint.best import Best
from ppema.checkpoint.links import check_links
from ppema.checkpoint.lock import Lock, locked
from ppema.checkpoint.paths import checkpoints_of, output_of
from ppema.checkpoint.state import BEGINNING, State
from ppema.config import Config, to_yaml
from ppema.data import Batch, GivenUp, never
from ppema.errors import DataError, PeerError, TrainingError
from ppema.evaluation.evaluate import evaluate
from ppema.log.history import recorded
from ppema.log.log import RunLog
from ppema.log.terminal.progress import progress
from ppema.log.terminal.standings import Standings
from ppema.optimizers.schedules import rates
from ppema.posthoc.snapshots import snapshots_of
from ppema.programs.device import device_name
from ppema.programs.executor import FailedBatchError
from ppema.programs.model.normalization import changes, is_unmeasured, kept_by_run
from ppema.training.batches import batches_after
from ppema.training.checks.skipped import ADVICE, overflows, where
from ppema.training.checks.statecheck import StateCheck
from ppema.training.course import Course
from ppema.training.due import Due
from ppema.training.evaluations import Evaluations
from ppema.training.initial import Restored, begin_with
from ppema.training.parallel.same_state import check_same_run
from ppema.training.parallel.shared_start import shared_start
from ppema.training.parallel.unheard import UnheardBar, UnheardLog, UnheardSaver
from ppema.training.resuming.refusals import check_directions
from ppema.training.resuming.resume import Start, open_run
from ppema.training.saving.save import Saver
from ppema.training.setup import TrainingRun, prepare_training
from ppema.training.stepper import RankStepper, Stepper
from ppema.training.stop import SharedStop, StopRequest, stop_requests

_LAUNCHER_REPEATS = 5.0  # seconds in which Paddle's launcher sends SIGTERM several times for one request


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

    def complete(config: Config) -> Config:
        nonlocal known
        if resume != "never" and is_unmeasured(config):
            # Of its classes, `open_run` compares those of the data with those of the checkpoint.
            known = config.replace(data=kept_by_run(config, resume).data.replace(classes=config.data.classes))
        return known

    with closing(prepare_training(config, complete)) as run, paddle.static.scope_guard(run.scope), run.world.answering():
        check_same_run(run)
        if not run.world.first:
            return Trainer(run, shared_start(run, None)).go(None)
        with locked(output_of(config)) as lock:
            check_links(output_of(config))
            start = open_run(run, checkpoints_of(config, run.horizon), resume, extend=extend)
            if known is not config:
                start = replace(start, said=(*start.said, *changes(known, run.train_loader)))
            restored = None if start.state.step or start.begun.batches else begin_with(run)
            if not run.world.alone:
                start = shared_start(run, start)
            made = {"resolved": run.config, "paddle": paddle.__version__, "device": device_name(config.runtime.device)}
            with recorded(output_of(config), config, step=start.state.step, **made) as ending:
                result = Trainer(run, start, restored).go(lock)
                ending.step, ending.signal = result.state.step, result.stopped_by
            return result


def dry_run(config: Config, say: Callable[[str], None] = lambda line: None) -> float:
    """Build all of `config`, run one step and one evaluation, and write nothing. Returns the step's loss; raises as `train`.

    say: receives lines: the learning rates, and the result of `init_from` for a run without checkpoints.
    """
    with closing(prepare_training(config)) as run, paddle.static.scope_guard(run.scope), run.world.answering():
        check_same_run(run)
        restored = None
        if run.world.first and not checkpoints_of(config).exists():
            check_directions(config)
            restored = begin_with(run)
        if not run.world.alone:
            shared_start(run, Start() if run.world.first else None)
        for line in restored.summary() if restored else ():
            say(line)
        say(f"learning rate: {', '.join(map(str, rates(run.programs.lr, run.horizon.total_steps)))}")
        stepper = Stepper(run, Begun()) if run.world.alone else RankStepper(run, Begun(), never)
        with closing(run.train_loader.epoch(0)) as batches:
            step = next(filter(None, (stepper.run(batch, BEGINNING) for batch in batches)))
        if step.skipped is not None and not overflows(run):
            raise TrainingError(f"{where(BEGINNING, step.batches)} would be skipped: {step.skipped}: {ADVICE}")
        if what := StateCheck(run, BEGINNING).culprit():
            raise TrainingError(f"after {where(BEGINNING, step.batches)} {what} would not be finite: {ADVICE}")
        for weights, test in run.tests.items():
            with run.shards.in_place(weights):
                run.recalibrator.measure(weights)
                evaluate(run.executor, test, run.programs.model.inputs, run.eval_loader, world=run.world)
    return step.loss


class Trainer:
    """The loop over one run."""

    def __init__(self, run: TrainingRun, start: Start, restored: Restored | None = None):
        self._run = run
        self._start = start
        self._restored = restored

    def go(self, lock: Lock | None) -> Result:
        """Train to the end, or until a signal stops the run. Call it in the run's scope, while `lock` holds its folder.

        lock: of the first rank, which alone logs and saves; None on the others.
        """
        with stop_requests(repeated=0.0 if self._run.world.alone else _LAUNCHER_REPEATS) as request:
            if self._run.world.alone:
                return self._go(lock, Stepper(self._run, self._start.begun), request, request)
            stop = SharedStop(request)
            return self._go(lock, RankStepper(self._run, self._start.begun, stop.asked), stop, request)

    def _go(self, lock: Lock | None, stepper: Stepper, stop: StopRequest | SharedStop, request: StopRequest) -> Result:
        run, start, state = self._run, self._start, self._start.state
        evaluations = Evaluations(run, start, stop.received)
        due = Due(run, state, stopped=evaluations.stopping.reason() is not None)
        if run.config.train.log_norms:
            stepper.measure_when(due.log.due_next)
        output, go_on = output_of(run.config), run.config.train.failed_save == "go_on"
        standings = Standings(run.config.train.monitors, run.config.train.mode)
        shown = {"averages": tuple(run.config.averages), "monitored": _metrics(run.config)}
        with ExitStack() as opened:
            if lock is None:
                bar, log, saver = UnheardBar(), UnheardLog(), UnheardSaver(run.shards)
            else:
                lines = progress(due.last, state.step, per_epoch=run.horizon.steps_per_epoch, standings=standings)
                bar = opened.enter_context(lines)
                opened.enter_context(request.told(bar.notice))
                given = {"origin": start.origin, "keep": start.keep, "go_on": go_on}
                log = opened.enter_context(RunLog(output, bar, step=state.step, **given, **shown))
                saver = opened.enter_context(Saver(run, lock, log, go_on=go_on))
                self._open(log, due.last)
            batches = opened.enter_context(closing(batches_after(run, state, due.last, start.begun.batches, stop.received)))
            course = Course(run, start, stepper, evaluations, due, stop, bar, log, saver)
            try:
                over = course.settle()
                while not over and (batch := self._next(batches, course.state)) is not None:
                    over = course.go_on(batch)
                run.world.enter("ending the run", "slow")
            except GivenUp:
                course.stop()
            except (DataError, FailedBatchError, PeerError) as error:
                if isinstance(error, PeerError):
                    run.train_loader.abandon()
                saved = course.break_off(error)
                if saved is None:
                    raise
                error.args = (f"{error}. {saved}",)
                raise
            course.finish()
        return Result(course.state, evaluations.metrics, evaluations.best, output, course.stopped_by, course.early)

    def _next(self, batches: Iterator[Batch], state: State) -> Batch | None:
        """The next batch, None after the last one."""
        self._run.world.enter(f"reading data for step {state.step + 1}")
        return next(batches, None)

    def _open(self, log: RunLog, last: int) -> None:
        """Write config.yml, and how the run starts. last: the step after which it ends."""
        run, start, snapshots = self._run, self._start, snapshots_of(self._run.config)
        log.config(to_yaml(run.config))
        for line in start.said:
            log.say(line)
        for path in snapshots.go_on_from(start.state.step, keep=start.keep):
            log.say(f"set aside as {path}")
        log.warn(f"{each}; no average can be built with it" for each in snapshots.damaged())
        if start.begun.batches:
            log.say(f"resuming in step {start.state.step + 1} of {last}, of which {start.begun} done")
        elif start.state.step:
            log.say(f"resuming at step {start.state.step} of {last}")
        if self._restored:
            for line in self._restored.summary():
                log.say(line)
            log.note(f"init_from: {'  '.join(filter(None, row))}" for row in self._restored.rows())
        if run.programs.placement is not None and run.programs.placement.any:
            log.note([f"onednn: {run.kernels}"])


def _metrics(config: Config) -> list[str]:
    """The names of the monitored metrics, without those of the weights."""
    return [monitor.partition("/")[2] for monitor in config.train.monitors]
