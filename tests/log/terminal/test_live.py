"""The run on a terminal: a table and the progress at the bottom, and lines above."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from support.configs import write_config

from ppema.experiments.sweeps.sweep_progress import sweep_progress
from ppema.log.terminal.activity import activity
from ppema.log.terminal.progress import progress
from ppema.log.terminal.region import clock, filled

ROOT = Path(__file__).parents[3]
HIDES = b"\x1b[?25l"


def read_all(master: int) -> bytes:
    """What was written to the terminal until all its other ends are closed."""
    said = b""
    while True:
        try:
            more = os.read(master, 65536)
        except OSError:
            return said
        if not more:
            return said
        said += more


def last_frame(said: bytes) -> list[str]:
    """The lines after the last one that was erased, without the codes of styles."""
    text = said.decode().rpartition("\x1b[2K")[2]
    return [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in text.replace("\r", "").splitlines()]


@contextmanager
def terminal(monkeypatch, columns: int = 80, lines: int = 24) -> Iterator[int]:
    """sys.stderr is a terminal; yields its other end. The standard streams of this process may have no size."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", str(lines))
    stream = os.fdopen(slave, "w", encoding="utf-8")
    monkeypatch.setattr("sys.stderr", stream)
    try:
        yield master
    finally:
        with suppress(OSError):  # the terminal is closed
            stream.close()
        with suppress(OSError):
            os.close(master)


def trained(master: int) -> bytes:
    """What a run of four steps shows, with an evaluation and a long line."""
    with progress(total=40, start=10, per_epoch=20) as bar:
        bar.line("warning: something [odd] happened in /a/path/that/is/longer/than/" + 60 * "x")
        bar.standings.add(10, 0.5, {"raw": {"accuracy": 0.5}})
        for step in (11, 12):
            bar.arrived()
            bar.update(step, loss=0.5, lr=0.01, rate=1234.0)
        bar.interval("unseen", 0.25)
        bar.standings.add(12, 0.6, {"raw": {"accuracy": 0.875}, "ema": {"accuracy": 0.75}})
        bar.doing("evaluating ema: batch 3 of 4")
        bar.notice("stopping after SIGINT")
        bar.evaluated()
        sys.stderr.write("from a library\n")
    sys.stderr.close()
    return read_all(master)


def test_a_terminal_gets_a_table_with_the_progress_below(monkeypatch):
    with terminal(monkeypatch) as master:
        said = trained(master)
    frame = last_frame(said)
    assert frame[:3] == [
        "evaluation after step 12, epoch 0.60",
        "weights  accuracy    best   change",
        "raw        0.8750  0.8750  +0.3750",
    ]
    assert frame[3] == "ema        0.7500  0.7500        -"
    assert frame[4].startswith("step 12/40  ━") and frame[4].endswith("  30%  after 0:00:00")
    assert frame[5:] == ["epoch 0.60  loss 0.5000  lr 0.01  1234 samples/s", "25% of the time waiting for data"]
    text = said.decode()
    for part in ("something [odd] happened in", 60 * "x", "batch 3 of 4", "0:00:00 left", "stopping after", "from a library"):
        assert part in text
    assert "unseen" not in text
    assert HIDES not in said


@pytest.mark.parametrize("columns", [30, 60, 80, 200])
def test_nothing_of_it_is_wider_than_the_terminal(monkeypatch, columns):
    with terminal(monkeypatch, columns) as master:
        said = trained(master)
    assert max(map(len, last_frame(said))) <= columns


def test_a_terminal_without_a_moving_cursor_gets_plain_lines(monkeypatch):
    with terminal(monkeypatch) as master:
        monkeypatch.setenv("TERM", "dumb")
        with progress(total=4, start=0) as bar:
            bar.update(1, 0.5, 0.1, 1.0)
            bar.standings.add(1, 1.0, {"raw": {"loss": 0.5}})
            bar.evaluated()
        sys.stderr.close()
        assert read_all(master) == b"step 1/4  epoch 1.00  loss: raw 0.5000 (best)\r\n"


def test_without_colours_there_are_none(monkeypatch):
    with terminal(monkeypatch) as master:
        monkeypatch.setenv("NO_COLOR", "1")
        said = trained(master)
    assert b"\x1b[32m" not in said
    assert "raw        0.8750  0.8750  +0.3750" in last_frame(said)


def test_training_goes_on_when_the_terminal_is_closed(monkeypatch):
    with terminal(monkeypatch) as master:
        with progress(total=4, start=0) as bar:
            os.close(master)
            bar.line("unheard")
            bar.evaluated()


def test_a_wait_for_data_is_shown(monkeypatch):
    with terminal(monkeypatch) as master:
        with progress(total=4, start=0) as bar:
            bar.update(1, 0.5, 0.1, 1.0)
            monkeypatch.setattr("ppema.log.terminal.live._PATIENCE", 0.0)
            bar.evaluated()
        sys.stderr.close()
        assert b"waiting for data  0:00:00" in read_all(master)


def test_words_fill_lines():
    assert filled(["abc", "de", "f", "ghijklmnop"], 7) == ["abc  de", "f", "ghijklmnop"]
    assert (clock(59.6), clock(3661)) == ("0:01:00", "1:01:01")


@pytest.mark.campaign
def test_ctrl_c_leaves_the_table_and_the_cursor(tmp_path):
    """A real run on a terminal. The line discipline of the terminal makes Ctrl-C a signal."""
    write_config(tmp_path / "c.yml", train="{epochs: 100000, eval_every: 10 steps}")
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [sys.executable, str(ROOT / "tools/train.py"), "-c", "c.yml"]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "TERM": "xterm", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(ROOT / "tests")
    streams = {"stdin": slave, "stdout": slave, "stderr": slave}

    def own_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(command, cwd=tmp_path, env=environment, preexec_fn=own_terminal, **streams)
    os.close(slave)
    said = b""
    while b"evaluation after step" not in said:
        said += os.read(master, 65536)
    os.write(master, b"\x03")
    said += read_all(master)
    assert process.wait(60) == 130
    frame = last_frame(said)
    assert frame[0].startswith("evaluation after step ") and frame[2].startswith("raw ") and frame[4].startswith("quick ")
    assert [line.split(": ")[0] for line in frame if ": " in line][-2:] == ["run", "to go on"]
    assert b"stopping after SIGINT: the run saves first" in said and b"stopped by signal 2 after step" in said
    assert HIDES not in said


def test_a_command_shows_how_far_it_is_in_a_line_that_vanishes(monkeypatch):
    with terminal(monkeypatch, columns=40) as master:
        with activity() as watch:
            watch("recalibrating ema", 0, None)
            time.sleep(0.3)
            watch("evaluating ema", 3, 4)
            print("a line /with/a/path/that/is/longer/than/the/terminal", file=sys.stderr)
        sys.stderr.close()
        said = read_all(master)
    assert b"recalibrating ema  0:00:00" in said
    assert "evaluating ema  ━━━━━━━━━━━━━━━─────\r\n3/4 batches  0:00:00 left".encode() in said
    assert b"a line /with/a/path/that/is/longer/than/the/terminal\r\n" in said
    assert last_frame(said) == [] and HIDES not in said


def test_elsewhere_a_command_shows_nothing(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    with activity() as watch:
        watch("evaluating ema", 3, 4)
    assert stream.getvalue() == ""


def test_a_sweep_shows_a_notice_and_does_not_hide_the_cursor(monkeypatch):
    with terminal(monkeypatch) as master:
        with sweep_progress(4) as bar:
            bar.line("trial 0  complete [odd]")
            bar.update(1, "trial 1 seed 0 step 7")
            bar.notice("stopping after SIGINT")
            time.sleep(0.5)  # A handler does not draw.
        sys.stderr.close()
        said = read_all(master)
    assert HIDES not in said
    text = said.decode()
    for part in ("trial 0  complete [odd]", "1/4 trials", "trial 1 seed 0 step 7", "stopping after SIGINT"):
        assert part in text


def test_a_sweep_goes_on_when_its_terminal_is_closed(monkeypatch):
    with terminal(monkeypatch) as master, sweep_progress(4) as bar:
        os.close(master)
        bar.line("trial 0  complete")
        bar.update(1, "trial 1")
