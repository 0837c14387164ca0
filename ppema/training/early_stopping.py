"""Ends a run whose monitored metric does not improve any more."""

from __future__ import annotations

from ppema.checkpoint.best import mode_of
from ppema.checkpoint.state import State
from ppema.checkpoint.waiting import Waiting
from ppema.config import Config
from ppema.config.horizon import Horizon


class EarlyStopping:
    """The early stop of a run, if its config has one.

    waiting: its state, which is a part of checkpoints. None without `train.early_stop`.
    """

    def __init__(self, config: Config, horizon: Horizon, state: State, waiting: Waiting | None):
        """state: the position of the run; waiting: the state in its checkpoint. That of another metric does not count."""
        self._horizon = horizon
        self._train = config.train
        monitor = config.train.stops_by
        if monitor is None:
            self.waiting = None
        elif waiting is not None and waiting.monitor == monitor:
            self.waiting = waiting
        else:
            self.waiting = Waiting(monitor, None, *(state.step,) * 3)

    def judge(self, metrics: dict[str, dict[str, float]], state: State) -> None:
        """Take note of an evaluation after the step that led to `state`.

        metrics: by the weights that it measured. Without those of the monitored metric, nothing is noted.
        """
        spec = self._train.early_stop
        if spec is None or self.waiting is None:
            return
        weights, _, metric = self.waiting.monitor.partition("/")
        if weights not in metrics:
            return
        monitors = self._train.monitors
        # `train.mode` is that of the monitored metrics. If this one is not among them, its own name comes first.
        monitored = any(each.partition("/")[2] == metric for each in monitors)
        mode = mode_of(metric, monitors if monitored else (), self._train.mode)
        self.waiting = self.waiting.after(metrics[weights][metric], state.step, mode=mode, min_change=spec.min_change)

    def reason(self) -> str | None:
        """The reason why the run ends, in words; None: it goes on."""
        spec, waiting = self._train.early_stop, self.waiting
        if spec is None or waiting is None or not waiting.evaluations:
            return None
        steps, patience = waiting.seen - waiting.begin, spec.patience
        over = waiting.evaluations >= patience if isinstance(patience, int) else steps >= self._horizon.steps(patience)
        if not over:
            return None
        evaluations = f"{waiting.evaluations} evaluation{'s' if waiting.evaluations > 1 else ''} ({steps} steps)"
        if waiting.value is None:
            return f"{waiting.monitor} was not finite in {evaluations}"
        by = f" by more than {spec.min_change:g}" if spec.min_change else ""
        best = f"{waiting.value:.6g} after step {waiting.step}"
        return f"{waiting.monitor} did not improve{by} in {evaluations}; its best was {best}"

    def going_on(self, state: State, *, extend: bool) -> list[str]:
        """Lines for people if the run had stopped before `state`, its checkpoint. extend: it goes on, and counts anew."""
        reason = self.reason()
        if reason is None or state.step >= self._horizon.total_steps:
            return []
        if not extend:
            return [f"it had stopped early: {reason}; a larger train.early_stop.patience goes on, and so does extend"]
        assert self.waiting is not None
        self.waiting = self.waiting.anew()
        return [f"it had stopped early: {reason}; it goes on, and the patience begins anew"]
