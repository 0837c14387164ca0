"""Saving a run beside its training: the loop waits for one copy of the state, and for the writing before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType

from ppema.checkpoint.best import Best
from ppema.checkpoint.folder import step_folders
from ppema.checkpoint.lock import Lock
from ppema.checkpoint.paths import checkpoints_of
from ppema.checkpoint.state import Losses, State
from ppema.checkpoint.store import pointer_of
from ppema.errors import TrainingError
from ppema.log.log import RunLog
from ppema.training.resume import Metrics, manifest_of
from ppema.training.setup import TrainingRun
from ppema.training.statecopy import StateCopy
from ppema.training.writer import BackgroundWriter


class Saver:
    """Writes what a run saves, in the background; a context manager, as `BackgroundWriter` is.

    go_on: what can not be written is told in the log and the run goes on; else it ends the run. Whatever fails, earlier
    checkpoints are as they were; and what the last one would have held is not lost in silence: `finish` raises for it, and
    where another error ends the run, the log tells it.
    """

    def __init__(self, run: TrainingRun, lock: Lock, log: RunLog, *, go_on: bool):
        self._run, self._lock, self._log, self._go_on = run, lock, log, go_on
        self._checkpoints = checkpoints_of(run.config, run.horizon)
        self._state = StateCopy(run)
        self._writer = BackgroundWriter()
        self._saved: int | None = None

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._writer.__exit__(kind, error, trace)
        if kind is not None and issubclass(kind, Exception):
            # The person reads it on the terminal even where the log can not be written either.
            with suppress(TrainingError):
                if failure := self._writer.take_failure():
                    self._log.warn([str(failure)])
                self._record()

    def save(self, state: State, metrics: Metrics, best: Mapping[str, Best], interval: Losses, improved: Sequence[str]) -> None:
        """Save the run as it stands after the step that led to `state`; improved: the monitored metrics that are best there."""
        self._wait()
        self._state.take()
        manifest = manifest_of(self._run, self._state.images, state, metrics, best, interval)
        pointers = [pointer_of(monitor, self._run.config.train.monitors) for monitor in improved]
        write = partial(self._checkpoints.save, self._state.images, manifest, pointers)
        self._writer.submit(partial(self._write, write, state.step))

    def submit(self, write: Callable[[], object] | None) -> None:
        """Do `write`, if there is something to."""
        if write is not None:
            self._wait()
            self._writer.submit(write)

    def check(self) -> None:
        """Raise TrainingError for what could not be written, or tell it."""
        failure = self._writer.take_failure()
        if failure is not None:
            if not self._go_on:
                raise failure
            self._log.warn([f"{failure}; the run goes on"])
        self._record()

    def finish(self) -> None:
        """Wait until all is written. Raises TrainingError where the last piece was not."""
        self._writer.wait()
        failure = self._writer.take_failure()
        if failure is not None:
            raise failure
        self._record()

    def _write(self, write: Callable[[], object], step: int) -> None:
        write()
        # Read by the loop's thread, which alone writes the log; the next piece begins after that.
        self._saved = step

    def _record(self) -> None:
        """Tell the log of the checkpoint that was saved since the last call, if any."""
        if self._saved is not None:
            self._log.saved(self._saved)
            self._saved = None

    def newest(self) -> Path | None:
        """The newest checkpoint, once all is written; None where there is none. Raises nothing for what was not."""
        self._writer.wait()
        return next(reversed(step_folders(self._checkpoints.folder)), None)

    def _wait(self) -> None:
        self._lock.check()
        self._writer.wait()
        self.check()
