"""A fault in a user's input becomes one line and exit code 2, and creates no run folder."""

from __future__ import annotations

import pytest
from support import datasets
from support.commands import CNN, tool
from support.where import where

from ppema.cli.average import main as average_main
from ppema.cli.eval import main as eval_main
from ppema.cli.export import main as export_main
from ppema.cli.show import main as show_main
from ppema.cli.train import main as train_main

BAD = [
    (["-o", "train.epoch=3"], "-o train.epoch: unknown key; did you mean 'epochs'?"),
    (["-o", "averages.ema.decay=1.5"], "-o averages.ema.decay: expected a number"),
    (["-o", "train.epochs=many"], "-o train.epochs: expected"),
    (
        ["-o", "optimizer.args.momentumm=0.5"],
        "-o optimizer.args.momentumm: unknown argument of Momentum",
    ),
    (["-o", "model.args.in_channels=3"], "digits_cnn.yml:5:1: model: "),
    (["-o", "model.args.num_classes=4"], "data.train: sample "),
    (["-o", "data.train={name: npz, path: nowhere.npz, batch_size: 4}"], "nowhere.npz"),
    (["-o", "data.train={name: support.datasets.Empty, batch_size: 4}"], "data.train: support.datasets.Empty: "),
    (
        ["-o", "data.train={name: support.datasets.Breaks, args: {at: 0}, batch_size: 4}"],
        "data.train: sample 0: OSError: the disk is gone",
    ),
    (["-o", "runtime.device=gpu:7"], "runtime.device: gpu:7: there is no such GPU: "),
    (["-o", "runtime.threads=3"], "runtime.threads: 3 threads were asked for, but paddle is already loaded with 1"),
    (
        ["--resume", "nowhere"],
        "nowhere: there is no checkpoint: name the path of one, of a run, or of its last or best",
    ),
    (["-o", "model"], "-o model: "),
    (["-o", "model={name: sys.exit}"], "-o model: model.args: SystemExit"),
    (["-o", "model=paddle.nn.Flatten"], "optimizer: there is nothing to train: the loss depends on no trainable parameter"),
    (["-o", "model={name: support.models.AlwaysRandom}"], "in eval mode the model still draws random numbers ("),
    (["-o", "loss=support.losses.numpy_loss"], "-o loss: loss must return a variable, it returns a ndarray"),
    (["-o", "loss={name: paddle.nn.L1Loss, args: {reduction: bogus}}"], "-o loss: ValueError: "),
    (
        ["-o", "lr={name: PiecewiseDecay, args: {boundaries: [9 steps], values: [0.1]}}"],
        "lr.args: ValueError: The values have",
    ),
    (
        ["-o", "lr={name: InverseTimeDecay, args: {learning_rate: 0.1, gamma: -1}}"],
        "lr.args: the schedule fails within the run",
    ),
    (["-o", "lr={name: constant, args: {learning_rate: high}}"], "lr.args: ValueError: could not convert"),
    (
        ["-o", "lr={name: NoamDecay, args: {d_model: 8, warmup_steps: 5 steps}, warmup: 3 steps}"],
        "begins at a rate of 0: it needs no",
    ),
    (["-o", "model.args.widths=[100000000000]"], "digits_cnn.yml:5:1: model: the initial values can not be made: "),
    (["-o", 'output="a\\0b"'], "-o output: ValueError: embedded null"),
    (["-o", "runtime.threads=100000"], "runtime.threads: 100000 threads were asked for; this machine has"),
]


@pytest.mark.parametrize(("arguments", "said"), BAD, ids=[each[0][-1] for each in BAD])
def test_bad_input_is_one_line_exit_code_2_and_no_run_folder(here, capsys, arguments, said):
    assert train_main(["-c", CNN, *arguments]) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert len(err.splitlines()) == 1
    assert out == ""
    assert not (here / "runs").exists()


def test_every_problem_of_a_config_in_one_report(here, capsys):
    (here / "bad.yml").write_text("modell: cnn\ntrain: {epochs: 0}\nlr: -1\n")
    assert train_main(["-c", "bad.yml"]) == 2
    err = capsys.readouterr().err
    assert [line.split(": ")[0] for line in err.splitlines()] == ["bad.yml:1:1"] * 4 + ["bad.yml:2:9", "bad.yml:3:1"]
    assert "bad.yml:1:1: modell: unknown key; did you mean 'model'?" in err.splitlines()


@pytest.mark.parametrize(
    ("main", "command", "rest"),
    [(train_main, "train", []), (eval_main, "eval", []), (average_main, "average", ["--last-checkpoints", "2"])],
)
def test_a_missing_config_or_none_is_said(here, capsys, main, command, rest):
    assert main(["-c", "nowhere.yml", *rest]) == 2
    assert "nowhere.yml" in capsys.readouterr().err
    for arguments in (rest, ["mine.yml", *rest]):
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
        err = capsys.readouterr().err
        assert err.startswith(f"usage: ppema {command} [-h] -c CONFIG ")
        needed = "the following arguments are required: -c/--config; name the experiment's YAML file"
        assert err.splitlines()[-1] == f"ppema {command}: error: {needed}: ppema {command} -c CONFIG"


def test_show_needs_a_config_for_some_of_its_uses(here, capsys):
    assert show_main([]) == 2
    assert capsys.readouterr().err == "-c CONFIG is missing: name the experiment's YAML file\n"
    with pytest.raises(SystemExit, match="2"):
        show_main(["mine.yml"])
    said = "unrecognized arguments: mine.yml; name the experiment's YAML file: ppema show -c mine.yml"
    assert capsys.readouterr().err.splitlines()[-1] == f"ppema show: error: {said}"


def test_eval_of_what_is_not_there(here, capsys):
    assert eval_main(["-c", CNN]) == 2
    said = (
        "there is no last checkpoint: train first, or go to where that was done: output 'runs/digits_cnn' is below the working "
    )
    assert capsys.readouterr().err == f"{here}/runs/digits_cnn/checkpoints/last: {said}directory\n"
    assert eval_main(["-c", CNN, "-o", f"output={here}/absolute"]) == 2
    assert capsys.readouterr().err == f"{here}/absolute/checkpoints/last: there is no last checkpoint: train first\n"
    assert train_main(["-c", CNN, "-o", "train.stop_after=1 step", "-o", "train.monitor=null"]) == 0
    capsys.readouterr()
    assert eval_main(["-c", CNN, "--weights", "emma"]) == 2
    assert capsys.readouterr().err.endswith(": there are no weights 'emma'; there are raw, ema, fast_start\n")
    assert eval_main(["-c", CNN, "--weights", "ema.pdparams"]) == 2
    assert capsys.readouterr().err.endswith(
        ": there are no weights 'ema.pdparams'; there are raw, ema, fast_start; --weights takes files *.safetensors, which "
        "export writes; init_from.path takes *.pdparams too\n"
    )
    assert eval_main(["-c", CNN, "--checkpoint", "best"]) == 2
    assert "there is no best checkpoint: set train.monitor" in capsys.readouterr().err
    assert eval_main(["-c", CNN, "-o", "model.args.widths=[16, 33]"]) == 2
    assert "variable" in capsys.readouterr().err


def test_an_output_that_can_not_be_written(here, capsys):
    (here / "file").write_text("")
    assert train_main(["-c", CNN, "-o", "output=file/run"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "file/run" in line


def test_a_loss_that_is_not_finite_is_exit_code_1(here, capsys):
    assert train_main(["-c", CNN, "-o", "loss=support.losses.nan_loss", "-o", "train.max_skipped=0"]) == 1
    said = capsys.readouterr().err
    assert "step 1 (epoch 0, batch 0) is skipped: the gradient of conv2d_0.w_0 (" in said
    assert "Traceback" not in said


def test_a_data_set_that_raises_in_the_middle_is_no_hang_and_no_traceback(tmp_path):
    data = "data.train={name: support.datasets.Breaks, args: {at: 31}, batch_size: 4, workers: 1}"
    good = "data.eval={name: synthetic, samples: 4, shape: [4], classes: 3, batch_size: 4}"
    model = "model={name: mlp, args: {in_features: 4, num_classes: 3}}"
    done = tool("train", "-c", CNN, "-o", data, "-o", good, "-o", model, cwd=tmp_path)
    assert done.returncode == 2
    line = where(datasets, 'raise OSError("the disk', tmp_path)
    saved = "The state after step 7 is saved: the same command goes on from there"
    assert done.stderr.splitlines()[-1] == f"data.train: sample 31: OSError: the disk is gone ({line}). {saved}"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("rank", ["0", "1"])
def test_ranks_of_an_export_are_refused_before_anything_is_read(rank, tmp_path, monkeypatch, capsys):
    """Each of them would write the same file."""
    monkeypatch.chdir(tmp_path)
    for name in ("PADDLE_TRAINER_ID", "PADDLE_LOCAL_RANK"):
        monkeypatch.setenv(name, rank)
    for name in ("PADDLE_TRAINERS_NUM", "PADDLE_LOCAL_SIZE"):
        monkeypatch.setenv(name, "2")
    for given in (["-c", "nowhere.yml"], ["--from-official", "nowhere"]):
        assert export_main([*given, "--to", "x.pdparams"], prog="python tools/export.py") == 2
        expected = "python tools/export.py works in one process: start it without paddle.distributed.launch\n"
        assert capsys.readouterr() == ("", expected)
    assert list(tmp_path.iterdir()) == []
