"""The command lines as a user meets them: what they print, their exit codes, one line for whatever is wrong."""

from __future__ import annotations

import argparse
import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import datasets
from support.where import where

from ppema.cli.average import main as average_main
from ppema.cli.common import run
from ppema.cli.eval import main as eval_main
from ppema.cli.export import main as export_main
from ppema.cli.show import main as show_main
from ppema.cli.train import main as train_main
from ppema.errors import SetupError

ROOT = Path(__file__).parents[2]
CNN = str(ROOT / "configs/digits_cnn.yml")
FASHION = Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder, where a run would leave its `runs`."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tool(name: str, *arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    bare = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "tests"), **environment}
    command = [sys.executable, str(ROOT / f"tools/{name}.py"), *arguments]
    return subprocess.run(command, cwd=cwd, env=bare, capture_output=True, text=True, timeout=120, check=False)


COMMANDS = sorted(path.stem for path in (ROOT / "tools").glob("*.py"))


@pytest.mark.parametrize("command", COMMANDS)
def test_each_module_of_a_command_runs_it(command, here):
    """As `python -m` calls it, which does nothing for a module that only defines functions."""
    wrong = ["-c", "missing.yml"] if command not in ("benchmark", "checkpoint") else ["missing"]
    done = [
        subprocess.run(
            [sys.executable, "-m", f"ppema.cli.{command}", *arguments],
            cwd=here,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        for arguments in (["--help"], wrong)
    ]
    assert [each.returncode for each in done] == [0, 2]
    assert done[0].stdout.startswith("usage: ")
    assert "missing" in done[1].stderr or "required" in done[1].stderr


def test_train_then_eval_then_show(here, capsys):
    assert train_main(["-c", CNN, "-o", "train.stop_after=60 steps", "--json"]) == 0
    out, log = capsys.readouterr()
    result = json.loads(out.splitlines()[-1])
    assert result["step"] == 60
    assert list(result["metrics"]) == ["raw", "ema", "fast_start"]
    assert result["output"] == "runs/digits_cnn"
    assert "step 50  epoch 1.09  loss " in log
    assert eval_main(["-c", CNN, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == result["metrics"]
    assert eval_main(["-c", CNN, "--weights", "ema", "--checkpoint", "best"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["weights", "loss", "accuracy"]
    assert show_main(["-c", CNN, "--curves", "curves.png"]) == 0
    assert (here / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_show_and_dry_run_say_the_learning_rates(here, capsys):
    """Of a half-cosine over 30 · 46 steps from 0.1 with a warm-up of 460: at a third of its way it is at 3/4."""
    lr = "lr={name: CosineAnnealingDecay, args: {learning_rate: 0.1, T_max: 100 %}, warmup: 10 epochs}"
    assert train_main(["-c", CNN, "-o", lr, "--dry-run"]) == 0
    rates = "start 0 (step 1), after the warm-up 0.075 (step 461), peak 0.075 (step 461), end 1.296e-07 (step 1,380)"
    assert f"learning rate: {rates}" in capsys.readouterr().err.splitlines()
    assert show_main(["-c", CNN, "-o", lr]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split("  ") for line in lines[lines.index("Learning rate") + 2 :][:4]]
    assert [[cell.strip() for cell in row if cell] for row in rows] == [
        ["start", "1", "0"],
        ["after the warm-up", "461", "0.075"],
        ["peak", "461", "0.075"],
        ["end", "1380", "1.296e-07"],
    ]


def test_show_says_what_is_built(here, capsys):
    assert show_main(["-c", CNN]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines if line][:1] == ["Length"]
    assert ["name", "in", "the", "model", "shape", "type", "kind", "ema", "fast_start"] in lines
    variables = lines[lines.index(["Variables"]) + 2 :]
    assert [line[1] for line in variables[:4]] == ["0.weight", "1.weight", "1.bias", "1._mean"]
    assert ["batch_norm2d_0.w_1", "1._mean", "16", "float32", "statistic", "yes", "yes"] in variables
    assert ["linear_0.w_0", "10.weight", "32×10", "float32", "trained", "yes", "yes"] in variables
    assert len(variables) == 12
    # Two BatchNorms and the dropout at least; some versions have a switch on other operations too.
    on, _, switches = next(line for line in lines if line[:1] == ["train"])[2:]
    assert on == "0" and int(switches) >= 3
    tests = [line[-3:] for line in lines if line[:1] == ["test"]]
    assert len(tests) == 3
    assert all(on == switches and int(switches) >= 3 for on, _, switches in tests)
    assert not (here / "runs").exists()


def test_show_folds_the_layers_of_a_large_model(here, capsys):
    model = "model={name: paddle.vision.models.resnet50, args: {num_classes: 10}}"
    data = "data={train: {name: synthetic, samples: 4, shape: [3, 32, 32], classes: 10, batch_size: 2}, "
    data += "eval: {name: synthetic, samples: 4, shape: [3, 32, 32], classes: 10, batch_size: 2}}"
    averages = "averages={ema: {decay: 0.9}, other: {decay: 0.9, batch_norm: copy, exclude: ['^fc']}}"
    given = ["-c", CNN, "-o", model, "-o", data, "-o", averages, "-o", "train.monitor=ema/accuracy"]
    assert show_main(given) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert len(lines) < 70
    variables = lines[lines.index(["Variables", "by", "layer", "group", "(--all:", "each)"]) + 2 :]
    assert variables[0] == ["conv2d_0.w_0", "conv1.weight", "64×3×7×7", "float32", "trained", "yes", "yes"]
    # Of 3 blocks with 3 convolutions, one more beside the first, and a BatchNorm after each.
    assert ["30", "variables", "layer1", "float32", "trained", "yes", "yes"] in variables
    assert ["20", "variables", "layer1", "float32", "statistic", "yes", "no:", "batch_norm:", "copy"] in variables
    assert variables[-1] == ["2", "variables", "fc", "float32", "trained", "yes", "no:", "exclude", "^fc"]
    assert [line[1] if line[1] != "variables" else line[2] for line in variables[:3]] == ["conv1.weight", "bn1", "bn1"]


def test_show_says_what_compensation_costs(here, capsys):
    assert show_main(["-c", CNN, "-o", "averages.ema.precision=compensated"]) == 0
    lines = [line.rsplit(maxsplit=3) for line in capsys.readouterr().out.splitlines()]
    state = {line[0]: line[1:] for line in lines if line[:1] and line[0].startswith(("raw", "average-"))}
    assert list(state) == [
        "raw",
        "average-ema",
        "average-ema: what rounding lost (precision: compensated)",
        "average-fast_start",
    ]
    # One more array for each shadow; count and weight stand with the shadows.
    raw, ema, rests, fast_start = state.values()
    assert rests == raw and ema == fast_start
    assert int(ema[0]) == int(rests[0]) + 2


def test_show_resolved_reads_back(here, capsys):
    assert show_main(["-c", CNN, "--resolved"]) == 0
    (here / "resolved.yml").write_text(capsys.readouterr().out)
    assert show_main(["-c", "resolved.yml", "--resolved"]) == 0
    assert capsys.readouterr().out == (here / "resolved.yml").read_text()


def test_the_schema_in_configs_is_current(capsys):
    assert show_main(["--schema"]) == 0
    printed = capsys.readouterr().out
    assert printed == (ROOT / "configs/schema.json").read_text(), "run: make schema"


@pytest.mark.parametrize("name", ["train", "eval", "show", "average", "export"])
def test_help_needs_no_paddle_and_little_time(name, tmp_path):
    # A paddle that can not be imported stands in the way; time is the processor's, whatever else the machine does.
    (tmp_path / "paddle.py").write_text("raise RuntimeError('imported')")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = tool(name, "--help", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: python tools/{name}.py")
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


@pytest.mark.parametrize("name", ["train", "eval", "show", "average", "export", "checkpoint", "benchmark"])
def test_commands_run_as_modules(name, tmp_path):
    command = [sys.executable, "-m", f"ppema.cli.{name}", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith(f"usage: python -m ppema.cli.{name} ")


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
    ("main", "rest"), [(train_main, []), (eval_main, []), (show_main, []), (average_main, ["--last-checkpoints", "2"])]
)
def test_a_missing_config_or_none_is_said(here, capsys, main, rest):
    assert main(rest) == 2
    assert main(["-c", "nowhere.yml", *rest]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "-c CONFIG is missing" in lines[0]
    assert "nowhere.yml" in lines[1]


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


def test_curves_of_what_was_not_measured(here, capsys):
    assert show_main(["-c", CNN, "--curves", "x.png"]) == 2
    assert "it holds no evaluation: train first" in capsys.readouterr().err


@pytest.mark.parametrize("workers", [0, 1])
def test_a_data_set_that_raises_in_the_middle_is_no_hang_and_no_traceback(tmp_path, workers):
    data = f"data.train={{name: support.datasets.Breaks, args: {{at: 31}}, batch_size: 4, workers: {workers}}}"
    good = "data.eval={name: synthetic, samples: 4, shape: [4], classes: 3, batch_size: 4}"
    model = "model={name: mlp, args: {in_features: 4, num_classes: 3}}"
    done = tool("train", "-c", CNN, "-o", data, "-o", good, "-o", model, cwd=tmp_path)
    assert done.returncode == 2
    line = where(datasets, 'raise OSError("the disk', tmp_path)
    assert done.stderr.splitlines()[-1] == f"data.train: sample 31: OSError: the disk is gone ({line})"
    assert "Traceback" not in done.stderr


def child(code: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command line in a shell: `code`, in which "$@" is the command."""
    command = ["bash", "-c", code, "bash", sys.executable, "-W", "ignore", *arguments]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "tests")}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("closed", [">&-", ">&- <&-", ">&- 2>&-"])
def test_a_closed_stdout_is_no_traceback_and_no_file_of_the_run(tmp_path, closed):
    done = child(f'"$@" {closed}', str(ROOT / "tools/train.py"), "-c", CNN, "-o", "train.stop_after=2 steps", cwd=tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert (tmp_path / "runs/digits_cnn/log.txt").read_text().splitlines()[-1].startswith("step 2  eval  ")


def test_a_reader_that_goes_is_no_traceback(tmp_path):
    done = child('"$@" | true; exit ${PIPESTATUS[0]}', str(ROOT / "tools/show.py"), "-c", CNN, "--resolved", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "")


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


def test_a_real_process_uses_every_core_and_records_it(tmp_path):
    done = tool("train", "-c", CNN, "-o", "train.stop_after=2 steps", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    manifest = json.loads((tmp_path / "runs/digits_cnn/checkpoints/step-00000002/manifest.json").read_text())
    assert manifest["threads"] == len(os.sched_getaffinity(0))
    again = tool("train", "-c", CNN, "-o", "train.stop_after=3 steps", "-o", "runtime.threads=1", cwd=tmp_path)
    assert "resuming at step 2 of 3" in again.stderr
    manifest = json.loads((tmp_path / "runs/digits_cnn/checkpoints/step-00000003/manifest.json").read_text())
    assert manifest["threads"] == 1


def test_a_read_only_project_trains(tmp_path):
    project = tmp_path / "project"
    for part in ("ppema", "tools", "configs"):
        shutil.copytree(ROOT / part, project / part, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (*project.rglob("*"), project):
        path.chmod(0o555 if path.is_dir() else 0o444)
    (tmp_path / "work").mkdir()
    command = [sys.executable, str(project / "tools/train.py"), "-c", str(project / "configs/digits_mlp.yml")]
    done = subprocess.run(
        [*command, "-o", "train.stop_after=2 steps"],
        cwd=tmp_path / "work",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    for path in (project, *project.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(tmp_path / "work/runs")) == ["digits_mlp"]


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
    # Chance is 0.1.
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
