"""What `ppema launch` refuses before it starts anything, and the folder of the launcher's logs."""

from __future__ import annotations

import signal

import pytest

from ppema.cli.launch import main
from ppema.distributed.launcher import End, Launcher, launcher_options, private
from ppema.errors import SetupError


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
    assert launcher_options(given) == {"nproc_per_node": "2", "log_dir": "logs"}


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        ([], "the arguments of Paddle's launcher are missing: -- --nproc_per_node 2 tools/train.py -c CONFIG"),
        (["--restarts", "-1", "--", "train.py"], "--restarts: expected an integer >= 0, got -1"),
        (
            ["--", "--nnodes", "2", "train.py"],
            "--nnodes needs --master ADDRESS:PORT, of the first machine and the same on all of them",
        ),
    ],
)
def test_mistakes_are_refused_in_a_line(capsys, argv, line):
    assert main(argv) == 2
    assert capsys.readouterr().err == line + "\n"


@pytest.mark.parametrize(
    ("asked", "ends", "end"),
    [
        (signal.SIGTERM, {0: (143, ""), 1: (143, "")}, End(143, stopped=True)),
        (signal.SIGINT, {0: (None, ""), 1: (143, "")}, End(130, stopped=True)),
        # Rank 0 could not save.
        (signal.SIGTERM, {0: (1, ""), 1: (1, "rank 0 failed")}, End(1, stopped=True)),
        (signal.SIGTERM, {0: (None, ""), 1: (1, "rank 0 was killed")}, End(1, stopped=True, line="rank 0 was killed")),
        (None, {0: (143, ""), 1: (143, "")}, End(143, stopped=True)),
        (None, {0: (2, ""), 1: (2, "rank 0 failed")}, End(2)),
    ],
)
def test_the_code_of_a_job_is_that_of_its_ranks(tmp_path, asked, ends, end):
    launcher = Launcher([], tmp_path)
    launcher._asked = asked
    assert launcher._end(241, ends) == end
