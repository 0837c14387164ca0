"""Sweeps whose storage is outside their folder: SQLite, PostgreSQL, and a gRPC proxy; claims of several machines."""

from __future__ import annotations

import collections
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import Trial, TrialState
from support import trainee
from support.sweeps import TRAINEE, ledger, space, started, swept, trainings, until

from ppema.experiments.sweeps.opened_sweep import open_sweep
from ppema.experiments.sweeps.seed_run import Settings
from ppema.experiments.sweeps.shared.claims import CLAIM, Claims, Pace
from ppema.experiments.sweeps.sweep_folder import read_results
from ppema.experiments.sweeps.trial_runs import RUNS, TrialRuns

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


def test_another_machine_takes_a_trial_over_when_its_holder_is_silent(here):
    pace = Pace(beat=0.05, grace=0.4, settle=0.05)
    claims = []
    for folder in ("a", "b"):
        (here / folder).mkdir()
        opened = open_sweep(space(trials=1), here / folder / "s", f"sqlite:///{here}/study.db")
        claims.append(Claims(opened.study, opened.storage, opened.folder, 1, opened.place, pace))
    first, second = claims
    claim = first.next()
    assert claim is not None and claim.number == 0
    begun = time.monotonic()
    while time.monotonic() - begun < 1:  # A holder that keeps its claim.
        assert first.keep(claim)
        assert second.next() is None
        time.sleep(0.02)
    silent = time.monotonic()
    taken = until(second.next)
    assert time.monotonic() - silent >= 0.3
    assert second.keep(taken) and not first.keep(claim)
    (trial,) = second.trials()
    assert trial.user_attrs[CLAIM]["place"].endswith(f":{(here / 'b/s/place').read_text().strip()}")


def test_folders_of_one_path_on_machines_of_one_name_are_two_places(here):
    def claims_at(folder):
        opened = open_sweep(space(trials=1), folder, f"sqlite:///{here}/study.db")
        return Claims(opened.study, opened.storage, opened.folder, 1, opened.place), opened.place

    first, place = claims_at(here / "s")
    claim = first.next()
    os.rename("s", "elsewhere")
    second, other = claims_at(here / "s")
    assert second.next() is None
    assert first.keep(claim) and first.holds(claim)
    assert other != place and claims_at(here / "s")[1] == other


def test_a_trial_that_was_taken_over_is_recorded_by_its_new_holder_only(here):
    """The sign of life is not due before the training ends."""
    opened = open_sweep(space(["lr=0.1"], "grid", None), here / "s", f"sqlite:///{here}/study.db")
    claims = Claims(opened.study, opened.storage, opened.folder, 1, opened.place, Pace(beat=1000))
    claim = claims.next()
    runs = TrialRuns(
        Settings(opened.space, opened.folder, TRAINEE, 1),
        Trial(opened.study, claim.trial_id),
        {"lr": 0.1},
        claim,
        claims,
        opened.storage,
    )
    assert runs.poll() is None
    opened.storage.set_trial_user_attr(claim.trial_id, CLAIM, {"by": "another", "place": "there", "count": 0})
    until(lambda: not runs.training())
    assert until(runs.poll).state == "lost"
    (trial,) = claims.trials()
    assert trial.state == TrialState.RUNNING and RUNS not in trial.user_attrs


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture
def postgres():
    """The control of a PostgreSQL server on loopback, which is stopped afterwards, and its URL."""
    pytest.importorskip("psycopg")
    if not BINARIES:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    # PostgreSQL refuses to run as root.
    user = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory() as folder:
        if user:
            shutil.chown(folder, "postgres", "postgres")
        port, data = free_port(), f"{folder}/data"

        def run(program, *arguments):
            command = [str(BINARIES[-1].parent / program), "-D", data, *arguments]
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=120, **user)

        run("initdb", "-A", "trust", "-U", "postgres", "--no-sync")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        start = ("pg_ctl", "-w", "-l", f"{folder}/log", "-o", options, "start")
        stop = ("pg_ctl", "-w", "-m", "immediate", "stop")
        run(*start)
        try:
            yield lambda up: run(*(start if up else stop)), f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
        finally:
            with contextlib.suppress(subprocess.CalledProcessError):
                run(*stop)


@pytest.mark.campaign
def test_machines_share_a_sweep_by_postgresql(here, monkeypatch, postgres):
    """Two machines, which share no folder. One is killed, and the server restarts."""
    control, url = postgres
    monkeypatch.setenv("TRAINEE_SECONDS", "2")
    for folder in ("a", "b"):
        (here / folder).mkdir()
    processes = [started(4, 1, storage=url, cwd=here / folder) for folder in ("a", "b")]
    until(lambda: all(trainings(here / folder) for folder in ("a", "b")))
    processes[0].send_signal(signal.SIGKILL)
    processes[0].communicate()
    until(lambda: not trainings(here / "a"))
    control(False)
    time.sleep(1)
    control(True)
    said = processes[1].communicate(timeout=120)[1]
    assert processes[1].returncode == 0, said
    assert "warning: the sweep's storage fails: " in said
    assert "the sweep's storage works again\n" in said
    assert collections.Counter(ledger(here)) == {f"{number:04d}-s0": 1 for number in range(4)}
    results = read_results(here / "b/s")
    assert [each.state for each in results.trials] == ["complete"] * 4
    assert [each.value for each in results.trials] == [trainee.value(each.params["lr"], 0, 4) for each in results.trials]
    study = optuna.load_study(study_name="s", storage=url)
    assert [each.value for each in study.trials] == [each.value for each in results.trials]


@pytest.mark.campaign
def test_a_sweep_by_a_grpc_proxy(here, postgres):
    pytest.importorskip("grpc")
    port = free_port()
    serve = "from optuna.storages import get_storage, run_grpc_proxy_server as run; run(get_storage({!r}), port={})"
    command = [sys.executable, "-c", serve.format(postgres[1], port)]
    proxy = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        until(lambda: socket.socket().connect_ex(("localhost", port)) == 0)
        results = swept(["lr=log:1e-3..0.1"], "tpe", 4, storage=f"grpc://localhost:{port}", jobs=2, prune=True)
        assert [each.state for each in results.trials] == ["complete"] * 4
        study = optuna.load_study(study_name="s", storage=postgres[1])
        assert [(each.params, each.value) for each in study.trials] == [(each.params, each.value) for each in results.trials]
    finally:
        proxy.kill()
        proxy.wait()
