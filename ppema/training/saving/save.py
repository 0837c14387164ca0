"""Saves a run during training. The loop waits only for a copy of the state, and for the write before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType

from ppema.checkpoint.begun import Begun
from ppema.checkpoint.best import Best
from ppema.checkpoint.folder import step_folders
from ppema.checkpoint.lock import Lock
from ppema.checkpoint.manifest import Owed
from ppema.checkpoint.paths import checkpoints_of
from ppema.checkpoint.state import Losses, State
from ppema.checkpoint.store import pointer_of
from ppema.checkpoint.waiting import Waiting
from ppema.errors import TrainingError
from ppema.log.log import RunLog
from ppema.training.resuming.resume import Metrics, manifest_of
from ppema.training.saving.statecopy import StateCopy
from ppema.training.saving.writer import BackgroundWriter
from ppema.training.setup import TrainingRun


class Saver:
    """Writes checkpoints and snapshots of a run in the background; a context manager, as `BackgroundWriter` is.

    go_on: a failed write is a warning in the log; False: it ends the run. Earlier checkpoints stay unchanged in both cases.
    The failure of the last write is always reported: `finish` raises it, or the log shows it if another error ends the run.
    """

    def __init__(self, run: TrainingRun, lock: Lock, log: RunLog, *, go_on: bool):
        self._run, self._lock, self._log, self._go_on = run, lock, log, go_on
        self._checkpoints = checkpoints_of(run.config, run.horizon)
        self._state = StateCopy(run)
        self._writer = BackgroundWriter()
        self._saved: tuple[int, float] | None = None

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._writer.__exit__(kind, error, trace)
        if kind is not None and issubclass(kind, Exception):
            # The warning appears on the terminal even if the log can not be written.
            with suppress(TrainingError):
                if failure := self._writer.take_failure():
                    self._log.warn([str(failure)])
                self._record()

    def save(
        self,
        state: State,
        metrics: Metrics,
        best: Mapping[str, Best],
        interval: Losses,
        improved: Sequence[str],
        *,
        waiting: Waiting | None = None,
        begun: Begun | None = None,
        owed: Owed | None = None,
    ) -> None:
        """Save the run after the step that led to `state`. improved: the monitored metrics that are best in it.

        waiting: the state of the early stop, if there is one; begun: the progress of the next step, if it has begun; owed: what
        is left undone after the last step. Waits for the write before. Raises TrainingError as `check` does, and if the run's
        folder was removed or replaced.
        """
        self._wait()
        images = self._state.take() if begun is None else self._state.take_within_step()
        manifest = manifest_of(self._run, images, state, metrics, best, interval, waiting, begun, owed)
        pointers = [pointer_of(monitor, self._run.config.train.monitors) for monitor in improved]
        write = partial(self._checkpoints.save, images, manifest, pointers)
        self._writer.submit(partial(self._write, write, state.step, self._log.time.seconds))

    def submit(self, write: Callable[[], object] | None) -> None:
        """Do `write` in the background after the write before. None is ignored. Raises as `save` does."""
        if write is not None:
            self._wait()
            self._writer.submit(write)

    def check(self) -> None:
        """Raises TrainingError for a failed write; with `go_on` it warns in the log instead."""
        failure = self._writer.take_failure()
        if failure is not None:
            if not self._go_on:
                raise failure
            self._log.warn([f"{failure}; the run goes on"])
        self._record()

    def finish(self) -> None:
        """Wait until everything is written. Raises TrainingError if the last write failed."""
        self._writer.wait()
        failure = self._writer.take_failure()
        if failure is not None:
            raise failure
        self._record()

    def _write(self, write: Callable[[], object], step: int, seconds: float) -> None:
        write()
        # The loop's thread reads this before the next write starts. Only that thread writes the log.
        self._saved = step, seconds

    def _record(self) -> None:
        """Record the checkpoint that was saved since the last call, if any."""
        if self._saved is not None:
            self._log.saved(*self._saved)
            self._saved = None

    def newest(self) -> Path | None:
        """The newest checkpoint after all writes, or None. Does not raise for a failed write."""
        self._writer.wait()
        return next(reversed(step_folders(self._checkpoints.folder)), None)

    def _wait(self) -> None:
        self._lock.check()
        self._writer.wait()
        self.check()
