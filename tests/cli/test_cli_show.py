"""tools/show.py: built programs, learning rates, the resolved config, the schema and curves."""

from __future__ import annotations

import re

import pytest
from support.commands import CNN, ROOT
from support.launched import launch

from ppema.cli.show import main as show_main
from ppema.cli.train import main as train_main


def test_show_and_dry_run_say_the_learning_rates(here, capsys):
    """A half-cosine from 0.1 over 30 · 46 steps with a warm-up of 460 steps: after a third of its length it is at 3/4."""
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
    # At least two BatchNorms and the dropout; in some versions, other operations have a switch too.
    on, _, switches = next(line for line in lines if line[:1] == ["train"])[2:]
    assert on == "0" and int(switches) >= 3
    tests = [line[-3:] for line in lines if line[:1] == ["test"]]
    assert len(tests) == 3
    assert all(on == switches and int(switches) >= 3 for on, _, switches in tests)
    assert not (here / "runs").exists()


def between_ranks(lines: list[str]) -> dict[str, str]:
    """The rows of that table."""
    rows = lines[lines.index("Between ranks") + 2 :]
    return dict(re.split("  +", row, maxsplit=1) for row in rows[: rows.index("")])


def test_show_says_what_ranks_would_exchange(here, capsys):
    """4 bytes for each of 5,178 weights, 96 statistics and 3 signals. In a ring, each of 8 ranks sends 7/4 of them."""
    assert show_main(["-c", CNN]) == 0
    assert between_ranks(capsys.readouterr().out.splitlines()) == {
        "summed in a step": "20.61 KiB in 1 bucket",
        "sent by each rank": "20.61 KiB with 2 ranks, 36.07 KiB with 8 ranks",
    }


def test_show_says_why_ranks_can_not_train_a_config(here, capsys):
    with pytest.warns(UserWarning, match="no mean over samples"):
        assert show_main(["-c", CNN, "-o", "loss={name: CrossEntropyLoss, args: {reduction: sum}}"]) == 0
    (row,) = between_ranks(capsys.readouterr().out.splitlines()).items()
    assert row[0] == "several ranks" and row[1].startswith("not possible: ") and "requires a mean over samples" in row[1]


@pytest.mark.campaign
def test_ranks_measure_what_they_exchange(here):
    """By Paddle's launcher. The first rank alone prints."""
    job = launch(2, [str(ROOT / "tools/show.py"), "-c", CNN], cwd=here)
    assert (job.code, job.left) == (0, 0), job.outputs
    rows = between_ranks(job.outputs[0].splitlines())
    assert {name: rows[name] for name in ("summed in a step", "sent by each rank")} == {
        "summed in a step": "20.61 KiB in 1 bucket",
        "sent by each rank": "20.61 KiB with 2 ranks",
    }
    step, without = (float(rows[name].removesuffix(" ms")) for name in ("a step", "a step without the sums"))
    share = int(rows["share of the sums"].removesuffix(" %"))
    assert 0 <= share < 100 and share == pytest.approx(100 * max(0.0, 1 - without / step), abs=1.5)
    assert "Between ranks" not in job.outputs[1]


@pytest.mark.campaign
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
    # 3 blocks of 3 convolutions, one more convolution beside the first, and a BatchNorm after each.
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
        "average-ema: lost by rounding (precision: compensated)",
        "average-fast_start",
    ]
    # One more array for each shadow. The table counts the variables count and weight with the shadows.
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


def test_curves_of_what_was_not_measured(here, capsys):
    assert show_main(["-c", CNN, "--curves", "x.png"]) == 2
    assert "it holds no evaluation: train first" in capsys.readouterr().err
