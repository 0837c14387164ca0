"""The command lines from a user's view: their output and their exit codes."""

from __future__ import annotations

import argparse
import errno
import json
import os
import shlex
import signal
from pathlib import Path

import pytest
from support.commands import CNN, ROOT

from ppema.cli.average import main as average_main
from ppema.cli.common import print_table, run
from ppema.cli.eval import main as eval_main
from ppema.cli.export import main as export_main
from ppema.cli.pasted.again import beside, on_terminal
from ppema.cli.predict import main as predict_main
from ppema.cli.show import main as show_main
from ppema.cli.train import main as train_main
from ppema.errors import SetupError

FASHION = Path("/usr/share/datasets/fashion-mnist")


def test_train_then_eval_then_show(here, capsys):
    assert train_main(["-c", CNN, "-o", "train.stop_after=60 steps", "--json"]) == 0
    out, log = capsys.readouterr()
    result = json.loads(out.splitlines()[-1])
    assert result["step"] == 60
    assert list(result["metrics"]) == ["raw", "ema", "fast_start"]
    assert result["output"] == "runs/digits_cnn"
    figures = {name: f"{each['accuracy']:.4f}" for name, each in result["metrics"].items()}
    said = "  ".join(f"{name} {value}" for name, value in figures.items()).replace(figures["ema"], f"{figures['ema']} (best)")
    assert log.splitlines()[-1].startswith(f"step 60/60  epoch 1.30  accuracy: {said}  loss: raw 1.")
    best = result["best"]["ema/accuracy"]
    place = f"runs/digits_cnn/checkpoints/step-{best['step']:08}"
    run = f"-c {CNN} -o 'train.stop_after=60 steps' --weights ema --checkpoint best"
    assert out.splitlines()[4:-1] == [
        f"best: ema/accuracy {best['value']:.4f} after step {best['step']}: {place}",
        "run: runs/digits_cnn",
        "next:",
        f"ppema eval {run}",
        f"ppema predict {run} --input data.eval --to digits_cnn-ema.csv",
        f"ppema export {run} --format paddle --to digits_cnn-ema",
        "ppema board runs/digits_cnn",
        "ppema report runs/digits_cnn",
    ]
    for main, line in zip((eval_main, predict_main, export_main), out.splitlines()[7:10], strict=True):
        assert main(shlex.split(line)[2:]) == 0
    capsys.readouterr()
    assert "step 50  epoch 1.09  loss " in (here / "runs/digits_cnn/log.txt").read_text()
    assert eval_main(["-c", CNN, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == result["metrics"]
    assert eval_main(["-c", CNN, "--weights", "ema", "--checkpoint", "best"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0].split() == ["weights", "loss", "accuracy"]
    best = (here / "runs/digits_cnn/checkpoints/best").read_text().split()[0]
    assert err.splitlines()[-1] == f"checkpoint: runs/digits_cnn/checkpoints/{best}, step {int(best.removeprefix('step-'))}"
    assert show_main(["-c", CNN, "--curves", "curves.png"]) == 0
    assert (here / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "words", ["python tools/train.py", "ppema train", "python -m ppema train", "python -m ppema.cli.train"]
)
def test_another_command_is_started_as_this_one_was(words):
    assert beside(words.split(), "eval") == words.replace("train", "eval").split()


def test_a_command_on_a_terminal_is_continued_on_further_lines(monkeypatch):
    command = "python tools/eval.py -c c.yml -o 'lr={name: a long name}' --weights ema --checkpoint best"
    assert on_terminal("next: ", command) == f"next: {command}"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    lines = on_terminal("", command).splitlines()
    assert lines == [
        "python tools/eval.py -c c.yml \\",
        "    -o 'lr={name: a long name}' \\",
        "    --weights ema --checkpoint best",
    ]
    assert shlex.split("".join(line.removesuffix("\\") for line in lines)) == shlex.split(command)
    monkeypatch.setenv("COLUMNS", "200")
    assert on_terminal("next: ", command) == f"next: {command}"


@pytest.mark.parametrize(
    ("columns", "lines"),
    [
        (23, ["weights    loss  longer", "raw      0.5000  7.0000"]),
        (22, ["weights    loss", "raw      0.5000", "weights  longer", "raw      7.0000"]),
        (None, ["weights    loss  longer", "raw      0.5000  7.0000"]),
    ],
)
def test_a_table_on_a_terminal_is_no_wider_than_that(capsys, monkeypatch, columns, lines):
    monkeypatch.setattr("sys.stdout.isatty", lambda: columns is not None)
    monkeypatch.setenv("COLUMNS", str(columns or 10))
    print_table(["weights", "loss", "longer"], [["raw", 0.5, 7.0]])
    assert capsys.readouterr().out.splitlines() == lines


@pytest.mark.parametrize(
    "overrides",
    [
        ["-o", "seed=3", "-o", "lr=0.5"],
        ["-o", "seed=3", "lr=0.5"],
        ["-o", "seed=1", "lr=0.5", "-o", "seed=3"],
    ],
)
def test_overrides_are_given_one_by_one_or_together(here, capsys, overrides):
    assert show_main([*overrides, "-c", CNN, "--resolved"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "seed: 3" in lines and "    learning_rate: 0.5" in lines


@pytest.mark.parametrize("main", [average_main, eval_main, export_main, show_main, train_main])
def test_every_command_with_a_config_takes_several_overrides_at_once(here, capsys, main):
    needed = {average_main: ["--last-checkpoints", "2"], export_main: ["--to", "x.safetensors"]}.get(main, [])
    assert main(["-c", CNN, "-o", "sed=3", "lr=-1", *needed]) == 2
    assert {line.partition(": ")[0] for line in capsys.readouterr().err.splitlines()} == {"-o sed", "-o lr"}


def test_eval_of_a_damaged_checkpoint_names_the_file_and_train_falls_back(here, capsys):
    train = ["-c", CNN, "-o", "train.epochs=1", "-o", "train.save_every=20 steps"]
    assert train_main(train) == 0
    file = Path("runs/digits_cnn/checkpoints/step-00000046/optimizer.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    capsys.readouterr()
    assert eval_main(["-c", CNN, "--checkpoint", "last"]) == 2
    assert capsys.readouterr().err == f"{file}: damaged: its checksum is not that of what was written\n"
    assert train_main(train) == 0
    said = capsys.readouterr().err
    assert f"skipped {file}: damaged: its checksum is not that of what was written\n" in said
    assert "resuming at step 40 of 46\n" in said
    assert eval_main(["-c", CNN, "--checkpoint", "last"]) == 0


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't start new thread"), OSError(errno.ENOMEM, "no", "file")])
def test_too_little_memory_is_one_line(capsys, error):
    def command(arguments):
        raise error

    assert run(command, argparse.ArgumentParser(), []) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("there is not enough memory")


def test_an_error_is_escaped_for_the_terminal(capsys):
    def command(arguments):
        raise SetupError("one \033[2J\u202e\ntwo\u3000é")

    assert run(command, argparse.ArgumentParser(), []) == 2
    assert capsys.readouterr().err == "one \\x1b[2J\\u202e\ntwo\u3000é\n"


@pytest.mark.campaign
@pytest.mark.skipif(not FASHION.is_dir(), reason="needs the package dataset-fashion-mnist")
def test_fashion_mnist_trains_a_little(here, capsys):
    fashion = str(ROOT / "configs/fashion_cnn.yml")
    assert (
        train_main(
            [
                "-c",
                fashion,
                "-o",
                "model.args.widths=[16, 32]",
                "-o",
                "lr.warmup=null",
                "-o",
                "train.stop_after=60 steps",
                "--json",
            ]
        )
        == 0
    )
    metrics = json.loads(capsys.readouterr().out.splitlines()[-1])["metrics"]
    # Random predictions have an accuracy of 0.1.
    assert metrics["ema"]["accuracy"] > 0.3
    assert metrics["ema"]["top5"] > metrics["ema"]["accuracy"]


def test_fashion_mnist_says_how_to_get_it(here, capsys):
    images = "data.train.images=/usr/share/datasets/fashion-mnist/absent-images-idx3-ubyte.gz"
    assert train_main(["-c", str(ROOT / "configs/fashion_cnn.yml"), "-o", images]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "apt-get install dataset-fashion-mnist" in line


def test_the_digits_cnn_reaches_97_percent_with_ema_weights(here, capsys):
    assert train_main(["-c", CNN, "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out.splitlines()[-1])["metrics"]
    assert metrics["ema"]["accuracy"] >= 0.97
    assert metrics["ema"]["accuracy"] >= metrics["raw"]["accuracy"] - 0.01


def test_ctrl_c_that_paddle_makes_an_error_of_is_still_a_ctrl_c(capsys):
    def command(arguments):
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt as interrupt:
            raise SetupError("SystemError: returned a result with an exception set") from interrupt
        return 0

    before = signal.getsignal(signal.SIGINT)
    assert run(command, argparse.ArgumentParser(), []) == 130
    assert capsys.readouterr().err == ""
    assert signal.getsignal(signal.SIGINT) is before
