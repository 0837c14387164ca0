"""history.jsonl: when a run started and ended, and on which machine."""

from __future__ import annotations

import os
import subprocess
from datetime import timedelta

import paddle
import pytest
from support.configs import loader

from ppema.config import load_config
from ppema.errors import DataError, DivergedError
from ppema.log.history import FILE, Ended, Started, read_history, recorded
from ppema.training.loop import train
from ppema.version import VERSION


def test_a_run_that_goes_on_has_two_starts(tmp_path):
    config = loader(tmp_path)
    train(config("train.stop_after=5 steps", "train.epochs=1"))
    train(config("train.epochs=1"))
    first, _, second, end = read_history(tmp_path / "run")
    assert isinstance(first, Started) and isinstance(second, Started) and isinstance(end, Ended)
    assert (first.step, second.step, end.step, end.signal, end.error) == (0, 5, 7, None, None)
    assert (second.ppema, second.paddle, second.device) == (VERSION, paddle.__version__, "cpu")
    assert second.threads == int(os.environ["OMP_NUM_THREADS"]) and second.processor and second.cores >= 1
    assert second.overrides == [f"output={tmp_path / 'run'}", "train.epochs=1"]
    places = {each.key: each.place for each in second.origins}
    assert places["train.epochs"] == "override" and places["lr.args.T_max"].endswith("small.yml:6:62")
    assert timedelta(0) <= end.time - second.time < timedelta(minutes=5) and end.time.tzinfo is not None


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    loader(tmp_path / "sub")
    return load_config(tmp_path / "sub/small.yml")


def git(*words):
    names = ("-c", "user.name=A", "-c", "user.email=a@b.c")
    return subprocess.run(["git", *names, *words], check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_of_the_folder_of_the_config(config, tmp_path):
    """A file that git does not track makes the tree no other."""
    git("init", "-q")
    git("add", "sub/small.yml")
    git("commit", "-q", "-m", "x")
    os.utime("sub/small.yml", (1, 1))  # Git would note this time in its index, for which it locks it.
    index = (tmp_path / ".git/index").read_bytes()
    with recorded(tmp_path, config):
        (tmp_path / "sub/small.yml").write_text("changed")
    with recorded(tmp_path, config):
        pass
    assert (tmp_path / ".git/index").read_bytes() == index
    clean, _, dirty, _ = read_history(tmp_path)
    assert (clean.commit, dirty.commit) == (commit := git("rev-parse", "HEAD"), f"{commit}-dirty")
    assert clean.config == "sub/small.yml" and clean.origins[0].place == "sub/small.yml:1:9"


def test_the_error_that_ends_it(config, tmp_path):
    def fail():
        with recorded(tmp_path, config) as ending:
            ending.step = 4
            raise DataError("no file")

    with pytest.raises(DataError):
        fail()
    begun, end = read_history(tmp_path)
    assert (end.step, end.error, end.diverged, begun.commit, begun.paddle) == (4, "no file", None, None, None)
    with pytest.raises(DivergedError), recorded(tmp_path, config):
        raise DivergedError("the loss is not finite")
    assert read_history(tmp_path)[-1].diverged


def test_other_lines_are_ignored_and_a_file_that_can_not_be_written_ends_no_run(config, tmp_path):
    (tmp_path / FILE).write_text('{"kind": "end"\nnull\n{"kind": "begin"}\n')
    assert read_history(tmp_path) == [] == read_history(tmp_path / "nowhere")
    (tmp_path / FILE).unlink()
    (tmp_path / FILE).mkdir()
    with recorded(tmp_path, config):
        pass
