"""A sweep over four processes, of which SIGKILL ends some and their trainings, again and again.

PPEMA_SWEEP_TRIALS=1000: the whole thing, with trainings of a second and 20 kills; several minutes.
"""

from __future__ import annotations

import collections
import math
import os
import random
import signal
import time

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from support import trainee
from support.sweeps import ledger, started, trainings

from ppema.experiments.sweeps.sweep_folder import read_results

TRIALS = int(os.environ.get("PPEMA_SWEEP_TRIALS", "48"))
WHOLE = TRIALS >= 1000
KILLS, SECONDS, PROCESSES = (20, 1.0, 4) if WHOLE else (8, 0.3, 4)


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_no_trial_is_lost_and_none_is_trained_twice(here, monkeypatch):
    monkeypatch.setenv("TRAINEE_SECONDS", str(SECONDS))
    monkeypatch.setenv("TRAINEE_STEPS", "10")
    draws, begun = random.Random(17), time.monotonic()
    log = open("log", "w")  # noqa: SIM115
    processes = [started(TRIALS, 1, stderr=log) for _ in range(PROCESSES)]
    killed = collections.Counter()
    while any(each.poll() is None for each in processes):
        time.sleep(0.05)
        done = len(ledger(here)) if os.path.exists("ledger") else 0
        # The kills are spread over the first nine tenths of the trials, at moments of no pattern.
        if killed.total() < KILLS and done >= 0.9 * TRIALS * killed.total() / KILLS + 1 and draws.random() < 0.3:
            if killed.total() % 2:
                number = draws.randrange(PROCESSES)
                processes[number].kill()
                processes[number].wait()
                processes[number] = started(TRIALS, 1, stderr=log)
                killed["process"] += 1
            elif there := trainings(here):
                os.kill(draws.choice(there), signal.SIGKILL)
                killed["training"] += 1
    took = time.monotonic() - begun
    print(f"{TRIALS} trials, {dict(killed)}, {took:.0f} s, at least {TRIALS * SECONDS / PROCESSES:.0f} s")
    said = open("log").read()  # noqa: SIM115
    assert [each.returncode for each in processes] == [0] * PROCESSES, said
    assert killed.total() == KILLS
    assert trainings(here) == []
    assert collections.Counter(ledger(here)) == {f"{number:04d}-s0": 1 for number in range(TRIALS)}
    results = read_results("s")
    assert [(each.number, each.state) for each in results.trials] == [(number, "complete") for number in range(TRIALS)]
    assert [each.value for each in results.trials] == [trainee.value(each.params["lr"], 0, 10) for each in results.trials]
    study = optuna.load_study(study_name="s", storage=JournalStorage(JournalFileBackend("s/study.journal")))
    assert [(each.number, each.value) for each in study.trials] == [(each.number, each.value) for each in results.trials]
    assert all(len(each.intermediate_values) == 10 for each in study.trials)
    assert math.isfinite(study.best_value)
