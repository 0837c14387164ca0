"""The processes that read data end with the process that started them, however it ends."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def script(body, **options):
    code = "from support.datasets import *\nfrom ppema.data.loader import Loader\nimport multiprocessing, os, sys, time\n"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    command = [sys.executable, "-c", code + textwrap.dedent(body)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_a_worker_has_one_thread_and_paddle_does_not_warn_of_more(monkeypatch):
    """NumPy's number of threads decides the last bits of its dot products. A worker has as many as the main process."""
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    process = script("""
        for workers in (0, 2):
            loader = Loader(WithPaddle(), batch_size=2, workers=workers)
            for batch in loader.epoch(0):
                print(*batch.arrays[0].ravel().tolist())
            loader.close()
    """)
    try:
        out, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, stderr) == (0, "")
    alone, many = (line.split() for line in out.splitlines())
    assert alone[1::2] == ["2.0", "2.0"] and many[1::2] == ["1.0", "1.0"]
    assert alone[0::2] == many[0::2]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pids, seconds=10.0):
    deadline = time.monotonic() + seconds
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(alive(pid) for pid in pids)


@pytest.mark.parametrize("seconds", [0.0, 60.0])
def test_workers_end_with_a_killed_parent(seconds):
    """Both while workers wait for requests and while they read a sample."""
    parent = script(f"""
        dataset = Squares(10)
        loader = Loader(dataset, batch_size=2, workers=2)
        dataset.seconds = {seconds}
        epoch = loader.epoch(0)
        if not dataset.seconds:
            next(epoch)
        else:
            import threading
            threading.Thread(target=next, args=(epoch,), daemon=True).start()
            time.sleep(0.6)
        print(*[child.pid for child in multiprocessing.active_children()], flush=True)
        time.sleep(60)
    """)
    try:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(alive(pid) for pid in pids)
    finally:
        parent.kill()
        parent.communicate(timeout=10)
    assert gone(pids)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("next(epoch)", 0),
        ("next(epoch); raise SystemExit(5)", 5),
        ("next(epoch); keep = epoch; raise ValueError", 1),
        ("list(loader.epoch(0, 5)); loader.close(); epoch = None", 0),
    ],
)
def test_a_script_ends(workers, body, code):
    process = script(f"loader = Loader(Squares(500), batch_size=2, workers={workers})\nepoch = loader.epoch(0)\n{body}")
    try:
        _, stderr = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == code, stderr
    assert code == 1 or stderr == ""


def test_a_hung_sample_does_not_keep_the_process():
    process = script("""
        dataset = Squares(500)
        loader = Loader(dataset, batch_size=2)
        dataset.seconds = 1000
        epoch = loader.epoch(0)
        import signal, threading
        signal.alarm(1)
        signal.signal(signal.SIGALRM, lambda *_: sys.exit(7))
        import ppema.data.prefetch
        ppema.data.prefetch.JOIN_SECONDS = 0.2
        next(epoch)
    """)
    try:
        _, stderr = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 7, stderr


def test_ctrl_c_is_the_parents_business():
    """Workers survive the SIGINT that a terminal sends to every process, and end silently with the parent."""
    process = script(
        """
        loader = Loader(Squares(2000, seconds=0.01), batch_size=2, workers=2)
        epoch = loader.epoch(0)
        next(epoch)
        try:
            print("ready", flush=True)
            for _ in epoch: pass
        except KeyboardInterrupt:
            next(loader.epoch(1))
            loader.close()
            sys.exit(130)
        """,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130, stderr
    assert stderr == ""
