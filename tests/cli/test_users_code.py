"""Errors in a user's own code: the line with their place, and the traceback in log.txt and under --debug."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.configs import CNN, data_section, write_config
from support.where import where

from ppema.cli.checkpoint import main as checkpoint_main
from ppema.cli.show import main as show_main
from ppema.cli.train import main as train_main

SECTIONS = {
    "model": "{name: mine.Net}",
    "data": data_section("{name: mine.Points, batch_size: 4}", "{name: mine.Points, batch_size: 4}"),
    "metrics": "[mine.plain]",
    "averages": "{ema: {decay: 0.9}}",
    "train": "{epochs: 2}",
}
MINE = """
import numpy as np
import paddle
class Net(paddle.nn.Layer):
    def __init__(self, at=""):
        super().__init__()
        if at == "init":
            raise KeyError("no width")  # init
        self.at, self.linear = at, paddle.nn.Linear(2, 3)
    def forward(self, points):
        if self.at == "forward":
            return self.linear(helper(points))
        if self.at == "build":
            points = paddle.concat([points, paddle.ones([4, 7, 7])])  # build
        if self.at == "run":
            points = paddle.reshape(points, [-1, 5])[:, :2]  # run
        return self.linear(points)
def helper(points):
    raise ValueError("not like this")  # forward
def plain(predictions, targets):
    return paddle.mean(predictions, axis=1)
def loss(predictions, targets):
    return predictions.no_such_method()  # loss
def metric(predictions, targets):
    return plain(predictions, targets) + {}["a"]  # metric
class Rate(paddle.optimizer.lr.LRScheduler):
    def __init__(self, at):
        self.at, self.copies = at, 0
        super().__init__(0.1)
    def __deepcopy__(self, memo):
        return Rate(-1 if self.at > 0 else self.at)
    def get_lr(self):
        if self.last_epoch == abs(self.at) and self.at != -1:
            raise ArithmeticError("no more rates")  # rate
        return 0.1
def bad_colour(point):
    raise RuntimeError("no such colour")  # transform
class Points:
    def __init__(self, at=-1):
        self.transform = paddle.vision.transforms.Compose([bad_colour])
        self.at = at
    def __len__(self):
        return 9
    def __getitem__(self, index):
        point = np.float32([index, 1])
        return self.transform(point) if index == self.at else point, index % 3
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A current folder with a config and the modules that it names. They are unloaded after the test."""
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path / "c.yml", CNN, **SECTIONS)
    Path("mine.py").write_text(MINE)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", "") == str(tmp_path / "mine.py"):
            del sys.modules[name]


def at(mark: str) -> str:
    return f"({where(Path('mine.py').absolute(), f'# {mark}')})"


FAULTS = [
    ("model={name: mine.Net, args: {at: init}}", "init", "model.args: KeyError: 'no width' "),
    ("model={name: mine.Net, args: {at: forward}}", "forward", "data's float32 [N, 2]: ValueError: not like this "),
    ("model={name: mine.Net, args: {at: build}}", "build", "model: the model can not take the data's float32 [N, 2]: "),
    ("model={name: mine.Net, args: {at: run}}", "run", "do not run on the data: an operation failed: "),
    ("loss=mine.loss", "loss", "loss: AttributeError: "),
    ("metrics=[mine.metric]", "metric", "metrics.0: KeyError: 'a' "),
    ("lr={name: mine.Rate, args: {at: 0}}", "rate", "lr.args: ArithmeticError: no more rates "),
    (
        "lr={name: mine.Rate, args: {at: -3}}",
        "rate",
        "lr.args: the schedule fails within the run: ArithmeticError: no more rates ",
    ),
    ("data.train={name: mine.Points, args: {at: 0}, batch_size: 4}", "transform", "sample 0: RuntimeError: no such colour "),
]


@pytest.mark.parametrize(
    ("override", "mark", "said"), FAULTS, ids=[f"{mark} {index}" for index, (_, mark, _) in enumerate(FAULTS)]
)
def test_the_one_line_ends_with_the_innermost_line_of_the_users_own(here, capsys, override, mark, said):
    assert train_main(["-c", "c.yml", "-o", override]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line and line.endswith(at(mark))
    assert not Path("runs").exists()


def test_nothing_is_added_where_no_code_of_the_users_is_at_fault(here, capsys):
    assert train_main(["-c", "c.yml", "-o", "optimizer={name: Momentum, args: {momentum: [1]}}"]) == 2
    assert ".py:" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "mark", "said"),
    [
        ("data.train={name: mine.Points, args: {at: 7}, batch_size: 4, shuffle: false}", "transform", "data.train: sample 7: "),
        ("data.train={name: mine.Points, args: {at: 7}, batch_size: 4, workers: 1}", "transform", "data.train: sample 7: "),
        ("lr={name: mine.Rate, args: {at: 4}}", "rate", "-o lr: the schedule fails within the run: "),
    ],
    ids=["data", "worker", "rate"],
)
def test_the_traceback_of_what_ends_a_run_is_in_its_log(here, capsys, override, mark, said):
    assert train_main(["-c", "c.yml", "-o", override]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(said)
    assert line.removesuffix(". The state after step 1 is saved: the same command goes on from there").endswith(at(mark))
    log = Path("runs/c/log.txt").read_text()
    # The traceback speaks of an override, the command line of its flag.
    assert log.splitlines()[-1].endswith(line.removeprefix("-o "))
    assert f'File "{here}/mine.py", line {at(mark)[:-1].rpartition(":")[2]}, in ' in log
    assert "Traceback (most recent call last):" in log


def test_a_run_that_ends_by_our_own_error_has_its_line_in_the_log(here):
    assert train_main(["-c", "c.yml", "-o", "loss=support.losses.nan_loss", "-o", "train.max_skipped=0"]) == 1
    log = Path("runs/c/log.txt").read_text()
    assert "Traceback" not in log and "max_skipped" in log.splitlines()[-1]


def test_debug_prints_the_traceback_before_the_line(here, capsys):
    fault = ["-c", "c.yml", "-o", "loss=mine.loss"]
    for main in (train_main, show_main):
        assert main([*fault, "--debug"]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert lines[0] == "Traceback (most recent call last):"
        assert "    return predictions.no_such_method()  # loss" in lines
        assert lines[-1].startswith("-o loss: AttributeError: ") and lines[-1].endswith(at("loss"))
        assert main(fault) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("arguments", [["--debug", "list", "nowhere"], ["list", "nowhere", "--debug"], ["list", "nowhere"]])
def test_debug_before_and_behind_a_subcommand(here, capsys, arguments):
    assert checkpoint_main(arguments) == 2
    assert ("Traceback" in capsys.readouterr().err) == ("--debug" in arguments)
