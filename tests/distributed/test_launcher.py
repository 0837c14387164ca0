"""What `ppema launch` refuses before it starts anything, and the folder of the launcher's logs."""

from __future__ import annotations

import re
import signal
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from ppema.cli.launch import main
from ppema.distributed.launching.launcher import End, Launcher
from ppema.distributed.launching.launcher_options import check_master, launcher_options
from ppema.distributed.launching.log_folder import log_folder, private
from ppema.errors import PpemaError, SetupError
from ppema.ranks import ENDS, NotedEnd, note_end, noted_ends


def mode(folder) -> int:
    return folder.stat().st_mode & 0o777


def test_the_log_folder_is_for_its_user_alone(tmp_path):
    private(tmp_path / "new/log")
    assert mode(tmp_path / "new/log") == 0o700
    # That of an earlier job, which Paddle's launcher made.
    (tmp_path / "log").mkdir(mode=0o755)
    for name in ("workerlog.0", "envlog.0", "backup_env.0.json", "default.abcdef.log"):
        (tmp_path / "log" / name).touch()
    private(tmp_path / "log")
    assert mode(tmp_path / "log") == 0o700


def test_a_log_folder_with_other_files_is_not_closed_to_others(tmp_path):
    tmp_path.chmod(0o755)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(SetupError, match=r"other users can read the folder, and it holds more than logs, such as notes.txt"):
        private(tmp_path)
    assert mode(tmp_path) == 0o755
    tmp_path.chmod(0o700)
    private(tmp_path)


def test_options_end_at_the_script():
    given = ["--nproc_per_node", "2", "--log_dir=logs", "tools/train.py", "-c", "x.yml", "--nnodes", "3"]
    options, script = launcher_options(given)
    assert options == {"nproc_per_node": "2", "log_dir": "logs"} and script == given[3:]


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        ([], "the arguments of Paddle's launcher are missing: -- --nproc_per_node 2 tools/train.py -c CONFIG"),
        (["--restarts", "-1", "--", "train.py"], "--restarts: expected an integer >= 0, got -1"),
        (
            ["--", "--nnodes", "2", "train.py"],
            "--nnodes needs --master ADDRESS:PORT, of the first machine and the same on all of them",
        ),
        (["--", "--nnodes", "two", "train.py"], "--nnodes: expected a number of machines >= 1, got 'two'"),
        (["--", "--nproc_per_node", "0", "train.py"], "--nproc_per_node: expected a number of processes >= 1, got '0'"),
        (
            ["--", "--nnodes=2", "--master", "10.0.0.1", "train.py"],
            "--master: expected ADDRESS:PORT, such as 10.0.0.1:8765, got '10.0.0.1'",
        ),
        *(
            (
                ["--", "--nnodes=2", "--master", address, "train.py"],
                f"--master: expected ADDRESS:PORT, such as 10.0.0.1:8765, got {address!r}",
            )
            for address in ("a..b:80", f"{'a' * 64}:80", "10.0.0.1:65536", "10.0.0.1:0", "a\x01:80")
        ),
        (
            ["--", "--nproc_per", "2", "train.py"],
            "--nproc_per: unknown option of Paddle's launcher; did you mean 'nproc_per_node'?",
        ),
        (
            ["--", "--nproc_per_node", "2"],
            "a script or a command is missing after the options of Paddle's launcher: -- --nproc_per_node 2 "
            "tools/train.py -c CONFIG",
        ),
        (["--", "--nproc_per_node", "2", "nowhere/train.py"], "nowhere/train.py: there is no such file"),
        (["--", "no-such-command", "train"], "no-such-command: there is no such command"),
    ],
)
def test_mistakes_are_refused_in_a_line(capsys, argv, line):
    assert main(argv) == 2
    assert capsys.readouterr().err == line + "\n"


def ended(launcher, code: int, *ranks: tuple[int, int, int | None, str]) -> End:
    return launcher._end(code, [NotedEnd(*each) for each in ranks])


@pytest.mark.parametrize(
    ("asked", "ranks", "end"),
    [
        (signal.SIGTERM, [(0, 0, 143, ""), (1, 1, 143, "")], End(143, stopped=True)),
        (signal.SIGINT, [(0, 0, None, ""), (1, 1, 143, "")], End(130, stopped=True)),
        # Rank 0 could not save.
        (signal.SIGTERM, [(0, 0, 1, ""), (1, 1, 1, "rank 0 failed")], End(1, stopped=True)),
        (
            signal.SIGTERM,
            [(0, 0, None, ""), (1, 1, 1, "rank 0 was killed")],
            End(1, stopped=True, line="rank 0 was killed"),
        ),
        (None, [(0, 0, 143, ""), (1, 1, 143, "")], End(143, stopped=True)),
        (None, [(0, 0, 2, ""), (1, 1, 2, "rank 0 failed")], End(2)),
        # A script that notes nothing at its begin: rank 0 was killed.
        (None, [(1, 1, 1, "rank 0 was killed")], End(1, line="rank 0 was killed")),
        # On the second machine of two, whose first rank has shown the line.
        (None, [(2, 0, 1, "rank 0 was killed"), (3, 1, 1, "rank 0 was killed")], End(1)),
    ],
)
def test_the_code_of_a_job_is_that_of_its_ranks(tmp_path, asked, ranks, end):
    launcher = Launcher([], tmp_path)
    launcher._asked = asked
    assert ended(launcher, 241, *ranks) == end


def test_a_rank_that_ends_before_the_ranks_watch_each_other_is_named():
    launcher = Launcher([], Path("log"))
    # The launcher ends rank 0 by SIGTERM, while that imports Paddle or waits for rank 1.
    found = ended(launcher, 241, (0, 0, None, ""), (1, 1, 2, ""))
    assert found == End(2, line="rank 1 ended with exit code 2: see log/workerlog.1")
    # Local rank 1 of the second machine.
    found = ended(launcher, 241, (2, 0, 143, ""), (3, 1, 1, ""))
    assert found == End(1, line="rank 3 ended with exit code 1: see log/workerlog.1")
    found = ended(launcher, 241, (0, 0, None, ""), (1, 1, None, ""))
    assert found == End(1, line="rank 0 or 1 was killed, perhaps for lack of memory: see the logs in log")
    assert ended(launcher, 241, (0, 0, 2, ""), (1, 1, None, "")) == End(2)  # its output is shown
    assert ended(launcher, -9, (0, 0, 143, ""), (1, 1, 143, "")) == End(1)


def test_a_rank_notes_its_end(tmp_path, monkeypatch):
    monkeypatch.setenv(ENDS, str(tmp_path))
    for rank in (10, 9):
        monkeypatch.setenv("PADDLE_TRAINER_ID", str(rank))
        monkeypatch.setenv("PADDLE_LOCAL_RANK", str(rank - 8))
        note_end(None)
    note_end(1, "rank 10 was killed")
    note_end(2)
    assert noted_ends(tmp_path) == [NotedEnd(9, 1, 2, "rank 10 was killed"), NotedEnd(10, 2, None, "")]


def test_a_log_folder_is_for_one_job_at_a_time(tmp_path, capsys):
    """Paddle's launcher appends to the logs, and what appears in the first one is shown: of both jobs, by both."""
    log = tmp_path / "log"
    with log_folder(log, ["a.py"]):
        assert main(["--", "--log_dir", str(log), "true"]) == 2
        assert capsys.readouterr().err.startswith(
            f"the log folder {log}: another job that runs writes its logs there: name another"
        )
        (log / "workerlog.1").write_text("of a.py\n")
    with log_folder(log, ["c d.py", "-c"]):
        said = (log / "workerlog.1").read_text()
    assert re.fullmatch(r"of a.py\n--- \d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}: 'c d.py' -c\n", said)


@pytest.mark.parametrize(("answer", "refused"), [(b'{"/healthy": "ok"}', False), (b"<html>", True), (b"{}", True)])
def test_a_port_of_another_program_is_refused(answer, refused):
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        address = f"127.0.0.1:{server.server_port}"
        if refused:
            with pytest.raises(PpemaError, match=f"^--master {address}: another program uses this port"):
                check_master({"master": address, "nnodes": "2"})
        else:
            check_master({"master": address, "nnodes": "2"})
    check_master({"master": address, "nnodes": "2"})  # nobody is there
    check_master({"master": address})


@pytest.mark.parametrize(
    ("script", "code", "line"),
    [
        ("raise ValueError('a fault')", 1, "Paddle's launcher failed: ValueError: a fault; --debug shows"),
        (
            "''.index('0')",
            2,
            "--devices: Paddle finds no device on this machine: start processes on CPUs with --nproc_per_node",
        ),
        ("import sys; print('a warning', file=sys.stderr); sys.exit(3)", 1, ""),
    ],
)
def test_an_error_of_paddles_launcher_is_one_line(tmp_path, monkeypatch, capfd, script, code, line):
    package = tmp_path / "paddle/distributed/launch"
    package.mkdir(parents=True)
    for folder in (package, package.parent, package.parent.parent):
        (folder / "__init__.py").touch()
    (package / "__main__.py").write_text(script)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    end = Launcher([], tmp_path).run()
    assert end.code == code and (end.line.startswith(line) if line else not end.line)
    assert capfd.readouterr().err == ""
    Launcher([], tmp_path, debug=True).run()
    assert ("ValueError" if line else "a warning") in capfd.readouterr().err
