"""Runs a sweep: claims trials, trains several at the same time, and records how they end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppema.environment import available_cores
from ppema.errors import PpemaError, listed
from ppema.experiments.sweeps.opened_sweep import OpenedSweep, open_sweep
from ppema.experiments.sweeps.refused_trials import Refusals
from ppema.experiments.sweeps.results_table import shortened
from ppema.experiments.sweeps.seed_run import Settings
from ppema.experiments.sweeps.shared.claims import Claim, Claims, Pace
from ppema.experiments.sweeps.shared.outage import StoragePatience
from ppema.experiments.sweeps.shared.trial_lock import LOCKS, TrialLock
from ppema.experiments.sweeps.sweep_folder import RESULTS, SweepResults, write_results
from ppema.experiments.sweeps.sweep_progress import SweepBar, beginning, sweep_progress
from ppema.experiments.sweeps.trial_board import TrialBoard
from ppema.experiments.sweeps.trial_process import ppema_command
from ppema.experiments.sweeps.trial_runs import TrialEnd, TrialRuns
from ppema.experiments.sweeps.trial_table import result_of, results_of
from ppema.log.figure_texts import with_spread
from ppema.training.stop import StopRequest, stop_requests

if TYPE_CHECKING:
    from ppema.experiments.sweeps.search.space import Space

_TICK = 0.05  # seconds between two looks at the trainings
_LOOK = 1.0  # seconds between two looks for a trial that others left, between two writes of the results, and on a terminal
_PATIENCE = 300.0  # seconds for which the storage may fail


@dataclass(frozen=True)
class SweepOutcome:
    """results: of all trials so far; stopped_by: the number of the signal that ended the sweep early, or None."""

    results: SweepResults
    stopped_by: int | None = None


def run_sweep(
    space: Space,
    to: str | os.PathLike[str] | None = None,
    *,
    storage: str | None = None,
    launcher: Sequence[str] | None = None,
    pace: Pace | None = None,
    cut: Callable[[SweepResults], None] = lambda results: None,
) -> SweepOutcome:
    """Train the trials of `space` that are left, together with other processes at the same storage, and wait for all to end.

    to: the sweep's folder, by default the config's output with "-sweep"; storage: as `open_storage` takes it; launcher: the
    words before the arguments of `ppema train`, by default that of this Python; pace: of claims.
    cut: receives the results so far before an error ends a sweep that the same call continues once its cause is removed.

    Raises PpemaError, also if all trials refuse their input; SetupError; TrainingError if the storage fails for minutes.
    The trainings save before, and continue with the next sweep.
    """
    opened = open_sweep(space, Path(to or f"{space.config.output}-sweep"), storage)
    with sweep_progress(space.trials) as bar, stop_requests("the trainings save first") as stop, stop.told(bar.notice):
        outcome = Sweeping(opened, launcher or ppema_command("train"), bar, stop, pace).run(cut)
        _write_report(opened.folder, bar)
        return outcome


def _write_report(folder: Path, bar: SweepBar) -> None:
    """Write the sweep's page. A page that can not be written is a warning: the results are complete without it."""
    from ppema.experiments.pages.report_page import report

    try:
        bar.line(f"report: {report(folder)}")
    except PpemaError as error:
        bar.line(f"warning: {error}")


class Sweeping:
    """The trials of one sweep in this process."""

    def __init__(
        self, opened: OpenedSweep, launcher: Sequence[str], bar: SweepBar, stop: StopRequest, pace: Pace | None = None
    ):
        self._opened = opened
        self._space = opened.space
        self._bar = bar
        self._stop = stop
        # With pruning, the runs of a trial are trained one after the other.
        runs = opened.space.trials * (1 if opened.space.section.prune else len(opened.space.seeds))
        self._jobs = min(opened.space.section.jobs, runs)
        self._claims = Claims(opened.study, opened.storage, opened.folder, opened.space.trials, opened.place, pace)
        self._settings = Settings(opened.space, opened.folder, launcher, _threads(opened.space, self._jobs))
        self._patience = StoragePatience(opened.storage, _PATIENCE, bar.line)
        self._board = TrialBoard(opened.space, opened.folder)
        self._active: list[TrialRuns] = []
        self._refusals = Refusals(opened.space, sound=False)
        self._looked = self._written = self._shown = 0.0
        self._waiting = self._stopped = False

    def run(self, cut: Callable[[SweepResults], None]) -> SweepOutcome:
        """Go on until all trials have ended, or until a signal stops the sweep. cut: of `run_sweep`."""
        self._begin(self._patience.insisted(self._claims.trials))
        try:
            while not self._step():
                time.sleep(_TICK)
            results = self._patience.insisted(self._write_results)
        except BaseException as error:
            refused = bool(self._refusals.held)
            results = self._end_at_once()
            if isinstance(error, PpemaError) and results is not None and not refused:
                cut(results)
            raise
        finally:
            self._board.close()
        with suppress(OSError):
            os.rmdir(self._opened.folder / LOCKS)
        return SweepOutcome(results, self._stop.signal if self._stopped else None)

    def _begin(self, trials: Sequence[Any]) -> None:
        for line in beginning(self._space, self._opened.folder, self._jobs, self._settings.threads):
            self._bar.line(line)
        if trials:
            finished = sum(each.state.is_finished() for each in trials)
            self._bar.line(f"going on: {finished} of {self._space.trials} trials have ended")
        self._refusals.sound = any(each.state.name in ("COMPLETE", "PRUNED") for each in trials)

    def _step(self) -> bool:
        """Look at every trial, and begin others. Returns whether the sweep is over."""
        if self._stop.received() and not self._stopped:
            self._stopped = True
            for each in self._active:
                each.stop()
        for each in list(self._active):
            self._patience.tried(partial(self._look_at, each))
        return bool(self._patience.tried(self._go_on))

    def _look_at(self, runs: TrialRuns) -> None:
        if (ending := runs.poll()) is not None:
            self._ended(runs, ending)

    def _go_on(self) -> bool:
        """Record trials that refused their input, and begin others. Returns whether the sweep is over."""
        while self._refusals.sound and (held := self._refusals.held):
            runs, ending = held[0]
            runs.fail(ending.reason)
            del held[0]
            self._say(runs, "failed", ending.reason)
        over = self._wind_up() if self._stopped else self._fill()
        self._show()
        return over

    def _fill(self) -> bool:
        """Begin trials in free places, and if none is left, further seeds. Returns whether all have ended."""
        now = time.monotonic()
        if not self._free() or (self._waiting and now - self._looked < _LOOK):
            return False
        self._looked = now
        while self._free() and (claim := self._claims.next(self._contrast())):
            self._active.append(self._taken(claim))
            self._waiting = False
            self._write()
        while self._free() and any(each.begin_another() for each in self._active):
            pass
        if self._active:
            self._waiting = self._free()
            return False
        if self._refusals.held:
            raise PpemaError(self._refusals.message())
        if self._claims.all_finished():
            return True
        if not self._waiting:
            left = [str(each.number) for each in self._claims.trials() if not each.state.is_finished()]
            self._bar.line(f"waiting for trials of other processes: {listed(left)}")
        self._waiting = True
        return False

    def _free(self) -> bool:
        """Whether another training may start."""
        return sum(each.places for each in self._active) < self._jobs

    def _taken(self, claim: Claim) -> TrialRuns:
        from optuna.trial import Trial

        from ppema.experiments.sweeps.search.samplers import sampler_of, suggested

        try:
            study = self._opened.study
            study.sampler = sampler_of(self._space, claim.number)
            trial = Trial(study, claim.trial_id)
            return TrialRuns(self._settings, trial, suggested(trial, self._space), claim, self._claims, self._opened.storage)
        except BaseException:
            claim.lock.release()
            raise

    def _ended(self, runs: TrialRuns, ending: TrialEnd) -> None:
        """Note the end of a trial that no longer trains."""
        if ending.state == "stopped":
            self._claims.give_back(runs.claim)
        self._active.remove(runs)
        self._waiting = False
        if ending.state == "lost":
            runs.claim.lock.release()
            self._bar.line(f"trial {runs.claim.number}: another machine took it over")
        elif ending.state == "refused":
            self._refusals.add(runs, ending)
            if self._refusals.are_of_the_config(self._claims.trials(), self._active):
                raise PpemaError(self._refusals.message())
        elif ending.state != "stopped":
            self._refusals.sound = True
            self._board.add(runs.claim.number, runs.params)
            self._say(runs, ending.state, ending.reason)

    def _contrast(self) -> int | None:
        """The trial that tells whether a value of the refused trials is at fault."""
        return self._refusals.contrast(self._claims.trials(), self._active) if self._refusals.held else None

    def _wind_up(self) -> bool:
        """After a signal: whether every training has ended."""
        while held := self._refusals.held:
            self._claims.give_back(held[-1][0].claim)
            held.pop()
        return not self._active

    def _end_at_once(self) -> SweepResults | None:
        """After an error: let the trainings save and end, and give their trials back if the storage allows it.

        Returns the results so far; None if the storage failed.
        """
        results = None
        for each in self._active:
            each.stop()
        for each in self._active:
            while each.training():
                time.sleep(_TICK)
        with suppress(Exception):
            self._wind_up()
            for each in self._active:
                self._claims.give_back(each.claim)
            results = self._write_results()
        # Where the storage did not allow it, another call may take them over.
        for each in (*self._active, *(runs for runs, _ in self._refusals.held)):
            each.claim.lock.release()
        return results

    def _say(self, runs: TrialRuns, state: str, reason: str) -> None:
        """Show the end of a trial in one line, and write the results if the last write is a while ago."""
        number = runs.claim.number
        result = result_of(self._space, self._claims.trials()[number])
        words = [f"trial {number}", state]
        if result.value is not None:
            words.append(f"{self._space.monitor} {with_spread(result.value, result.spread)}")
        words += [f"{key}={value}" for key, value in runs.params.items()]
        if reason:
            words.append(f"({shortened(reason)})")
        self._bar.line("  ".join(words))
        self._write()

    def _write(self) -> None:
        """Write the results if the last write is a while ago."""
        if time.monotonic() - self._written > _LOOK:
            self._write_results()
            self._written = time.monotonic()

    def _show(self) -> None:
        """Show how far the trials in training are."""
        if not self._bar.live or time.monotonic() - self._shown < _LOOK:
            return
        self._shown = time.monotonic()
        found = self._claims.trials()
        training = [text for each in self._active for text in each.shown()]
        self._bar.update(sum(each.state.is_finished() for each in found), listed(training, 2))

    def _write_results(self) -> SweepResults:
        """Replace results.json. The lock covers the read too, so that no process replaces a newer state by an older one."""
        with TrialLock.wait(self._opened.folder, RESULTS):
            results = results_of(self._space, self._opened.folder, self._claims.trials())
            write_results(results)
            return results


def _threads(space: Space, jobs: int) -> int | None:
    """The threads of each training: its share of the cores, or of OMP_NUM_THREADS; None if the config has a number."""
    if space.config.runtime.threads != "auto":
        return None
    inherited = os.environ.get("OMP_NUM_THREADS", "")
    all_threads = int(inherited) if inherited.isdecimal() and int(inherited) > 0 else available_cores()
    return max(1, all_threads // jobs)
