"""The training loop, from top to bottom."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle

from ppema.averaging.decay import FLOATS
from ppema.config import Config, to_yaml
from ppema.data import Batch
from ppema.errors import SetupError, TrainingError
from ppema.programs import RAW
from ppema.run.best import Best
from ppema.run.evaluate import evaluate
from ppema.run.execute import execute
from ppema.run.log import RunLog
from ppema.run.progress import progress
from ppema.run.resume import manifest_of, open_run
from ppema.run.setup import TrainingRun, checkpoints_of, output_of, prepare_training
from ppema.run.state import Every, State, step_seed
from ppema.run.stop import stop_requests


@dataclass(frozen=True)
class Result:
    """What a training run came to: where it stands, the last evaluation of each set of weights, the best, its folder.

    stopped_by: the number of the signal that ended it early, or None.
    """

    state: State
    metrics: dict[str, dict[str, float]]
    best: Best | None
    output: Path
    stopped_by: int | None = None


def train(config: Config, *, resume: str = "auto") -> Result:
    """Train what `config` describes, and evaluate the raw weights and every average on the way.

    resume: "auto" goes on from the run's last checkpoint where there is one, "never" refuses to touch a run that has one,
    anything else is the path of the checkpoint to go on from. Writes under the config's `output` only.

    Raises ConfigError, DataError, CheckpointError or SetupError for bad input, and TrainingError for a loss that is not
    finite; what was saved before stays as it was.
    """
    run = prepare_training(config)
    start = open_run(run, checkpoints_of(config), resume)
    with paddle.static.scope_guard(run.scope):
        try:
            return _Trainer(run, start.best, start.metrics).go(start.state)
        except OSError as error:
            # Data and checkpoints report their own; what is left is the log.
            raise SetupError(f"{output_of(config)}: the run's records can not be written: {error}") from error


def dry_run(config: Config) -> float:
    """Build all of `config`, run one step and one evaluation, write nothing; returns the step's loss. Raises as `train`."""
    run = prepare_training(config)
    with paddle.static.scope_guard(run.scope):
        trainer = _Trainer(run, None, {})
        loss = trainer.step(next(iter(run.train_loader.epoch(0))), State())
        for test in run.programs.tests.values():
            evaluate(run.executor, test, run.programs.model.inputs, run.eval_loader)
    return loss


@dataclass
class _Trainer:
    run: TrainingRun
    best: Best | None
    metrics: dict[str, dict[str, float]]

    def go(self, state: State) -> Result:
        """The loop."""
        config, run = self.run.config, self.run
        last = run.horizon.total_steps
        if config.train.stop_after is not None:
            last = min(last, run.horizon.steps(config.train.stop_after))
        log_every = Every(run.horizon.steps(config.train.log_every), last)
        eval_every = Every(run.horizon.steps(config.train.eval_every), last)
        save_every = Every(run.horizon.steps(config.train.save_every), last)
        output = output_of(config)
        with stop_requests() as stop, progress(last, state.step) as bar, RunLog(output, bar, step=state.step) as log:
            (output / "config.yml").write_text(to_yaml(config), encoding="utf-8")
            if state.step:
                log.say(f"resuming at step {state.step} of {last}")
            interval = _Interval()
            for batch in self._batches(state, last):
                lr = float(run.programs.lr())
                loss = self.step(batch, state)
                state = state.advance(len(batch.indices), run.horizon.steps_per_epoch)
                interval.add(loss, len(batch.indices))
                bar.update(state.step, loss, lr, interval.rate)
                if log_every.due(state):
                    decays = self._decays(state)
                    log.train(state.step, self._epoch(state), loss=interval.loss, lr=lr, decays=decays, rate=interval.rate)
                    interval = _Interval()
                improved = self._evaluate(state, log) if eval_every.due(state) else False
                if improved or save_every.due(state) or stop.signal:
                    self._save(state, improved=improved)
                if stop.signal:
                    log.say(f"stopped by signal {stop.signal} after step {state.step}, which is saved")
                    break
                interval.resume()
        return Result(state, self.metrics, self.best, output, stop.signal)

    def _batches(self, state: State, last: int):
        """The batches from `state` on, until step `last`."""
        step = state.step
        for epoch in range(state.epoch, self.run.horizon.epochs):
            start = state.batch if epoch == state.epoch else 0
            for batch in self.run.train_loader.epoch(epoch, start):
                if step == last:
                    return
                step += 1
                yield batch

    def step(self, batch: Batch, state: State) -> float:
        """One optimizer step, and with it one update of every average; returns the batch's loss."""
        programs = self.run.programs
        paddle.seed(step_seed(self.run.config.seed, state.step))
        feed = programs.model.inputs.feed(batch, self.run.train_loader.label)
        (value,) = execute(self.run.executor, programs.train, feed, [programs.loss])
        loss = float(np.asarray(value).reshape(()))
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} at step {state.step + 1} (epoch {state.epoch}, batch {state.batch}): lower the learning "
                "rate, set optimizer.clip_norm, or look for bad values in that batch"
            )
        if not isinstance(programs.lr, paddle.optimizer.lr.ReduceOnPlateau):
            programs.lr.step()
        return loss

    def _evaluate(self, state: State, log: RunLog) -> bool:
        """Measure every set of weights; returns whether the monitored one is the best so far."""
        run, monitor = self.run, self.run.config.train.monitor
        for weights, test in run.programs.tests.items():
            self.metrics[weights] = evaluate(run.executor, test, run.programs.model.inputs, run.eval_loader)
            log.evaluation(state.step, self._epoch(state), weights, self.metrics[weights])
        if isinstance(run.programs.lr, paddle.optimizer.lr.ReduceOnPlateau):
            run.programs.lr.step(self.metrics[RAW]["loss"])
        if monitor is None:
            return False
        weights, _, metric = monitor.partition("/")
        candidate = Best(monitor, self.metrics[weights][metric], state.step)
        if self.best is None or candidate.beats(self.best, run.config.train.mode):
            self.best = candidate
        return self.best is candidate

    def _save(self, state: State, *, improved: bool) -> None:
        run = self.run
        manifest = manifest_of(run, state, self.metrics, self.best)
        checkpoints_of(run.config).save(state.step, run.read(), manifest, best=improved)

    def _decays(self, state: State) -> dict[str, float]:
        """The decay that each average's update had in the step that led to `state`."""
        return {name: schedule(state.step - 1, FLOATS) for name, schedule in self.run.programs.schedules.items()}

    def _epoch(self, state: State) -> float:
        return state.step / self.run.horizon.steps_per_epoch


class _Interval:
    """The steps since the last log line: their mean loss, and samples per second without the time for evaluation and saving."""

    def __init__(self) -> None:
        self._losses: list[float] = []
        self._samples = 0
        self._seconds = 0.0
        self.resume()

    def resume(self) -> None:
        """Let the time since the last step not count."""
        self._mark = time.perf_counter()

    def add(self, loss: float, samples: int) -> None:
        self._losses.append(loss)
        self._samples += samples
        self._seconds += time.perf_counter() - self._mark

    @property
    def loss(self) -> float:
        return math.fsum(self._losses) / len(self._losses)

    @property
    def rate(self) -> float:
        return self._samples / max(self._seconds, 1e-9)
