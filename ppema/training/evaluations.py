"""Evaluates a run between its steps, and judges what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from ppema.checkpoint.best import Best, mode_of
from ppema.checkpoint.state import State
from ppema.config import RAW
from ppema.data import never
from ppema.data.class_names import classes_of
from ppema.distributed.shared_work import by_first
from ppema.errors import AverageError, ConfigError, PpemaError, TrainingError
from ppema.evaluation.evaluate import evaluate, numbers
from ppema.log.pictures.confusion_picture import confusion_picture
from ppema.log.pictures.sample_predictions import SamplePredictions
from ppema.log.run_board import RunBoard
from ppema.log.weight_histograms import WeightHistograms
from ppema.metrics import Figure
from ppema.optimizers.optimizer import advance
from ppema.optimizers.schedules import ReduceOnPlateau
from ppema.programs.eval_program import TestProgram
from ppema.training.early_stopping import EarlyStopping
from ppema.training.parallel.unheard import Log
from ppema.training.resuming.resume import Start
from ppema.training.setup import TrainingRun


class Evaluations:
    """The evaluations of a run. It keeps their results between steps.

    metrics: the last evaluation of each set of weights that the run evaluates; best: by monitored metric; stopping: the early
    stop; failure: the error that ends the run after its state is saved, or None.
    """

    def __init__(self, run: TrainingRun, start: Start, stopped: Callable[[], bool] = never):
        """stopped: whether to give up data that does not come."""
        self._run, self._stopped = run, stopped
        # A resumed run may evaluate other weights: figures of an earlier step would pass for those of the last one.
        self.metrics = {weights: start.metrics[weights] for weights in run.tests if weights in start.metrics}
        self.best = dict(start.best)
        self.stopping = EarlyStopping(run.config, run.horizon, start.state, start.waiting)
        self.failure: PpemaError | None = None
        self._recalibrated: dict[str, int] = {}
        self._measured: set[str] = set()
        self._warned = False
        self._broken: set[str] = set()
        board = run.config.board
        first = run.world.first
        self._histograms = WeightHistograms(run.programs, run.scope) if board.histograms and first else None
        self._matrices = [each.figure for each in run.config.metrics if board.confusion and each.name == "confusion_matrix"]
        drawn = (run.config, run.programs.model, run.executor, run.eval_loader)
        self._samples = SamplePredictions(*drawn) if board.pictures and first else None

    def measure(self, state: State, log: Log) -> list[str]:
        """Evaluate every set of weights whose statistics can be measured. Returns the monitored metrics that improved.

        An average has no value before the first step that changes the weights: it is then left out. Raises DataError,
        FailedBatchError and GivenUp; nothing is then recorded, so that the evaluation can be repeated.
        """
        run, measured = self._run, dict[str, dict[str, Figure]]()
        if not (state.updates or self._warned or run.tests.keys() <= {RAW}):
            self._warned = True
            log.warn(["no step has changed the weights yet: averages are not evaluated"])
        for weights, test in run.tests.items():
            if weights != RAW and not state.updates:
                continue
            found = self._evaluate(weights, test, state, log)
            if found is not None:
                measured[weights] = found
        log.doing("")
        epoch = state.step / run.horizon.steps_per_epoch
        self._draw(measured, state.step, log.board)
        for weights, found in measured.items():
            self.metrics[weights] = numbers(found)
            log.evaluation(state.step, epoch, weights, found)
        if measured:
            log.evaluated(state.step, epoch, {weights: self.metrics[weights] for weights in measured})
        for weights in measured:
            self._warn_of_loss(weights, self.metrics[weights].get("loss", 0.0), state, log)
        self._measured = set(measured)
        improved = []
        for monitor in run.config.train.monitors:
            weights, _, metric = monitor.partition("/")
            if weights not in measured:
                continue
            candidate = Best(monitor, self.metrics[weights][metric], state.step)
            # A non-finite value is never the best, and JSON can not hold it.
            if not math.isfinite(candidate.value):
                continue
            mode = mode_of(metric, run.config.train.monitors, run.config.train.mode)
            if monitor not in self.best or candidate.beats(self.best[monitor], mode):
                self.best[monitor] = candidate
                improved.append(monitor)
        return improved

    def _evaluate(self, weights: str, test: TestProgram, state: State, log: Log) -> dict[str, Figure] | None:
        """The figures of one set of weights; None if its statistics or a metric fail, which ends the run once it is saved."""
        run, watch = self._run, partial(_show, log, f"evaluating {weights}")
        with run.shards.in_place(weights):
            if not self._recalibrate(weights, state, log):
                return None
            try:
                with run.config.at("metrics"):
                    given = (run.executor, test, run.programs.model.inputs, run.eval_loader)
                    found = evaluate(*given, self._stopped, watch, world=run.world)
                    self._check_watched(weights, numbers(found))
            except ConfigError as error:  # a metric failed
                self.failure = self.failure or error
                return None
        return found

    def _draw(self, measured: Mapping[str, Mapping[str, Figure]], step: int, board: RunBoard | None) -> None:
        """Draw the histograms and images of `config.board`, which are written with the records of the evaluation.

        board: None on ranks other than the first, which wait for its pictures of samples. Raises as `SamplePredictions.draw`
        does, before anything is drawn.
        """
        if self._run.config.board.pictures and measured:
            tests = {weights: self._run.tests[weights] for weights in measured}
            by_first(self._run.world, lambda: self._draw_samples(board, tests, step), "the pictures of samples")
        if board is None:
            return
        if self._histograms is not None:
            self._histograms.draw(board, measured, step)
        for weights, found in measured.items():
            for name in self._matrices:
                counts = np.asarray(found[name])
                if counts.ndim == 2:  # of several labels it is [K, 2, 2]
                    picture = confusion_picture(counts, classes_of(self._run.config), f"{name} of {weights} after step {step}")
                    board.image(weights, name, picture, step)

    def _draw_samples(self, board: RunBoard | None, tests: Mapping[str, TestProgram], step: int) -> bytes:
        assert board is not None, "the first rank draws"
        assert self._samples is not None, "the run draws pictures"
        self._samples.draw(board, tests, step, self._stopped)
        return b""

    def _warn_of_loss(self, weights: str, loss: float, state: State, log: Log) -> None:
        """Warn of the first evaluation of `weights` with a non-finite loss, and again after a finite one."""
        if math.isfinite(loss):
            self._broken.discard(weights)
        elif weights not in self._broken:
            self._broken.add(weights)
            log.warn(
                [
                    f"the evaluation of {weights} after step {state.step} has the loss {loss}: the samples are finite, so it "
                    "comes from the outputs of the model, or from the loss"
                ]
            )

    def _check_watched(self, weights: str, found: Mapping[str, float]) -> None:
        """Raise ConfigError if `found` lacks a watched figure, as of a metric whose figures differ from set to set."""
        for monitor in self._run.config.train.watched:
            of, _, metric = monitor.partition("/")
            if of == weights and metric not in found:
                raise ConfigError.of(f"this evaluation has no figure {metric!r}; it has {', '.join(found)}")

    def judge(self, state: State, log: Log) -> str | None:
        """Let the evaluation after the step that led to `state` set the rate of ReduceOnPlateau, and end the run early.

        Call it at the end of each interval between evaluations, so that it does not depend on where a run was interrupted.
        Returns the reason why the run ends, or None.
        """
        if isinstance(self._run.programs.lr, ReduceOnPlateau):
            self._adjust(self._run.programs.lr, state, log)
        if self.failure is None:
            self.stopping.judge({weights: self.metrics[weights] for weights in self._measured}, state)
        return self.stopping.reason()

    def _adjust(self, schedule: ReduceOnPlateau, state: State, log: Log) -> None:
        """Pass the last evaluation's loss to the schedule, unless it is non-finite or the evaluation failed.

        Paddle would keep a NaN or an infinity as the best loss, and no later loss would be better.
        """
        if RAW not in self._measured:
            return
        loss = self.metrics[RAW]["loss"]
        if math.isfinite(loss):
            advance(schedule, self._run.config, loss)
        else:
            log.warn([f"the evaluation after step {state.step} has the loss {loss}: it does not change the learning rate"])

    def recalibrate(self, state: State, log: Log) -> None:
        """Measure the statistics of all averages that need it, so that a checkpoint of `state` has them.

        Averages without a value are left out, and errors raised, as in `measure`.
        """
        for weights in self._run.programs.recalibrations if state.updates else ():
            if self._recalibrated.get(weights) != state.step:
                with self._run.shards.in_place(weights):
                    self._recalibrate(weights, state, log)

    def _recalibrate(self, weights: str, state: State, log: Log) -> bool:
        """Measure the statistics of `weights` after the step that led to `state`, once.

        Returns whether that succeeded. If not, the run ends after its state is saved.
        """
        if self._recalibrated.get(weights) != state.step:
            if weights in self._run.programs.recalibrations:
                log.doing(f"recalibrating {weights}")
            try:
                self._run.recalibrator.measure(weights, lambda line: log.warn([line]), self._stopped)
            except AverageError as error:
                why = (
                    f"the average {weights!r} after step {state.step}: {error}. The state is saved, with the statistics before"
                )
                self.failure = self.failure or TrainingError(why)
                return False
            finally:
                log.doing("")
            self._recalibrated[weights] = state.step
        return True


def _show(log: Log, what: str, done: int, total: int) -> None:
    log.doing(f"{what}: batch {done} of {total}")
