"""A rank at fault ends the job, soon, with one line about it. Real processes, under Paddle's launcher."""

from __future__ import annotations

import os
import re
import signal
import sys

import pytest
from support.launched import ROOT, Launched, launching
from support.runs import content, last

SCRIPT = str(ROOT / "tests/support/rank_steps.py")
STEP = r"(reading data for|running) step (59|60)"
LINES = {
    "killed": rf"rank {{}} (was killed by SIGKILL|ended or was killed) while {STEP}",
    "raising": r"rank {} failed while reading data for step 60: ValueError: a bad sample",
    "stopped": rf"rank {{}} was stopped by a signal \d+ s ago, while {STEP}",
    "hanging": r"rank {} hangs: \d+ s of reading data for step 60, while the others were running step 60",
    "evaluating": r"rank {0} hangs: 10 s of reading batch {0} of the evaluation, longer than runtime.rank_patience \(10 s\)",
    "blocked": rf"rank {{}} has not answered for \d+ s, while {STEP}",
}
SECONDS = {"killed": 5, "raising": 5, "stopped": 60, "hanging": 60, "evaluating": 30, "blocked": 60}


def ended(
    tmp_path, rank: int, fault: str, *, ranks: int = 2, nnodes: int = 1, patience: int = 45, steps: int = 10**6
) -> Launched:
    argv = [SCRIPT, str(rank), fault, str(patience), str(steps)]
    with launching(ranks, argv, cwd=tmp_path, nnodes=nnodes, timeout=280) as job:
        job.wait_for("the fault", rank)
        job.mark()
        return job.end()


def check(job: Launched, rank: int, fault: str, slack: float = 1.0) -> None:
    assert job.code not in (0, None) and job.left == 0
    assert job.seconds < SECONDS[fault] * slack
    for each, output in enumerate(job.outputs):
        if each != rank:
            assert re.fullmatch(LINES[fault].format(rank) + "\n", output), output
    assert job.outputs[rank].startswith("the fault\n")


def test_a_killed_rank_ends_the_job(tmp_path):
    # Other tests run on the same processors.
    check(ended(tmp_path, 1, "killed"), 1, "killed", slack=5.0)


@pytest.mark.campaign
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("fault", LINES)
def test_a_rank_at_fault_ends_the_job(tmp_path, fault, rank):
    check(ended(tmp_path, rank, fault, patience=10 if fault == "evaluating" else 45), rank, fault)


@pytest.mark.campaign
@pytest.mark.parametrize("fault", ["killed", "hanging"])
def test_of_three_ranks_the_one_at_fault_is_named(tmp_path, fault):
    check(ended(tmp_path, 1, fault, ranks=3), 1, fault)


@pytest.mark.campaign
def test_a_killed_rank_of_another_launcher_ends_both(tmp_path):
    job = ended(tmp_path, 1, "killed", nnodes=2)
    check(job, 1, "killed")
    assert 0 not in job.codes


@pytest.mark.campaign
def test_slow_work_is_no_fault_below_its_limit(tmp_path):
    job = ended(tmp_path, 1, "slow", patience=40, steps=80)
    assert (job.code, job.left) == (0, 0) and job.seconds > 33
    assert job.outputs == ("done\n", "the fault\ndone\n")


@pytest.mark.campaign
def test_slow_work_is_a_fault_at_its_limit(tmp_path):
    job = ended(tmp_path, 1, "slow", patience=5, steps=80)
    assert job.code == 1 and job.seconds < 20
    line = "rank 1 hangs: 5 s of reading data for step 60, longer than runtime.rank_patience (5 s)\n"
    assert job.outputs == (line, f"the fault\n{line}")


TRAIN = [str(ROOT / "tools/train.py"), "-c", str(ROOT / "configs/digits_mlp.yml"), "-o", "output=run"]
LAUNCH = (sys.executable, str(ROOT / "tools/launch.py"))


@pytest.mark.campaign
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_launcher_that_gets_a_signal_lets_the_run_save(tmp_path, number):
    argv = [*TRAIN, "train.epochs=100000"]
    with launching(2, argv, cwd=tmp_path, timeout=280, launcher=(*LAUNCH, "--restarts", "3", "--")) as job:
        job.wait_for("epoch 2.00")
        os.kill(job.launchers[0], number)
        done = job.end()
    assert (done.code, done.left) == (128 + number, 0)
    assert re.search(r"stopped by signal 15 after step \d+, which is saved", done.terminal)
    assert "rank" not in done.outputs[0] and "restart 1 of" not in done.terminal
    assert re.search(
        r"^to go on: .*tools/launch.py --restarts 3 -- --nproc_per_node 2 .*/tools/train.py -c ", done.terminal, re.M
    )


@pytest.mark.campaign
def test_a_launcher_that_is_killed_lets_the_run_save(tmp_path):
    with launching(2, [*TRAIN, "train.epochs=100000"], cwd=tmp_path, timeout=280) as job:
        job.wait_for("epoch 2.00")
        os.kill(job.launchers[0], signal.SIGKILL)
        done = job.end()
    assert done.left == 0
    assert re.search(r"stopped by signal 15 after step \d+, which is saved", done.outputs[0])


@pytest.mark.campaign
def test_a_job_starts_again_after_a_fault(tmp_path):
    argv = [*TRAIN, "train.epochs=100"]
    with launching(2, argv, cwd=tmp_path, timeout=280, launcher=(*LAUNCH, "--restarts", "1", "--")) as job:
        job.wait_for("epoch 2.00")
        os.kill(job.pid(1), signal.SIGKILL)
        done = job.end()
    assert (done.code, done.left) == (0, 0)
    assert re.search(r"rank 1 (was killed by SIGKILL|ended or was killed) while ", done.terminal)
    assert "the job failed: restart 1 of 1\n" in done.terminal
    assert re.search(r"resuming at step \d+ of 2300\n", done.terminal) and "step 2300/2300" in done.terminal
    logs = next(tmp_path.glob("launched-*[0-9]"))
    assert logs.stat().st_mode & 0o777 == 0o700


@pytest.mark.campaign
def test_a_mistake_in_the_config_is_shown_once_and_ends_the_job(tmp_path):
    argv = [*TRAIN, "model=mpl"]
    with launching(2, argv, cwd=tmp_path, timeout=280, launcher=(*LAUNCH, "--restarts", "3", "--")) as job:
        done = job.end()
    assert (done.code, done.left) == (2, 0)
    assert len(re.findall("model: ", done.terminal)) == 1, done.terminal
    assert all("model: " in each for each in done.outputs)


@pytest.mark.campaign
def test_two_launchers_compute_the_bits_of_one(tmp_path):
    found = []
    for nnodes in (1, 2):
        (tmp_path / str(nnodes)).mkdir()
        with launching(2, [*TRAIN, "train.epochs=2"], cwd=tmp_path / str(nnodes), nnodes=nnodes, timeout=280) as job:
            done = job.end()
        assert (done.code, done.left, done.outputs[1]) == (0, 0, "")
        found.append(content(last(tmp_path / str(nnodes) / "run")))
    assert found[0] == found[1]


@pytest.mark.campaign
@pytest.mark.parametrize("rank", [0, 1])
def test_after_a_fault_rank_0_alone_saves_and_says_so(tmp_path, rank):
    with launching(2, [*TRAIN, "train.epochs=100000"], cwd=tmp_path, timeout=280) as job:
        job.wait_for("epoch 2.00")
        os.kill(job.pid(rank), signal.SIGKILL)
        done = job.end()
    line = rf"rank {rank} (was killed by SIGKILL|ended or was killed) while .+\n"
    if rank == 0:
        assert re.fullmatch(line, done.outputs[1])
    else:
        assert re.search(line + r"(The state after step \d+ is (not )?saved.+\n)?$", done.outputs[0])
    assert done.left == 0 and last(tmp_path / "run")
