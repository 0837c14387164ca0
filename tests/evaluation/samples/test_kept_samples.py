"""Statistics of each sample that an evaluation keeps: every figure can be computed from them again."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.configs import SMALL, data_section, loader

import ppema
from ppema.cli.eval import main
from ppema.errors import CheckpointError, PpemaError
from ppema.evaluation.samples.kept_samples import kept_of, read_samples
from ppema.evaluation.samples.replicates import _figures, replicates
from ppema.metrics import METRICS
from ppema.programs.eval_program import measure_results

pytestmark = pytest.mark.filterwarnings("ignore:metrics.*the ignore_index of")
SAMPLES = 50
METRICS_OF_PIXELS = ("iou", "accuracy", "perplexity")
KIND, SIZE = "output: kind, target: kind", "output: size, target: size"
FEW = f"metrics=[{{name: accuracy, {KIND}}}, {{name: confusion_matrix, {KIND}}}]"
# Two inputs, outputs, targets and losses; the last batch has 2 of 8 samples.
TASKS = {
    **SMALL,
    "model": "support.task_models.TwoTasks",
    "data": "\n  inputs: [image, scale]\n  targets: [size, kind]"
    + data_section(
        "{name: support.datasets.TwoTargets, batch_size: 12}",
        f"{{name: support.datasets.TwoTargets, args: {{samples: {SAMPLES}}}, batch_size: 8}}",
    ),
    "losses": "\n  kind: cross_entropy\n  scale: {name: mse, output: size, target: size, weight: 0.25}",
    "metrics": "\n"
    + "".join(f"- {{name: {name}, {SIZE}}}\n" for name in ("mse", "mae", "rmse", "r2"))
    + "".join(
        f"- {{name: {name}, {KIND}}}\n"
        for name in (
            "accuracy",
            "precision",
            "recall",
            "confusion_matrix",
            "iou",
            "dice",
            "auc",
            "average_precision",
            "perplexity",
        )
    )
    + f"- {{name: top_k, args: {{k: 2}}, {KIND}}}\n"
    + f"- {{name: f1, args: {{average: none, classes: [a, b, c]}}, {KIND}, as: f1_of}}\n"
    + f"- {{name: f1, args: {{ignore_index: 2}}, {KIND}}}\n"
    + f"- {{name: accuracy, args: {{ignore_index: 0}}, {KIND}, as: accuracy_of_some}}\n"
    + f"- {{name: support.metrics.HitsOf, args: {{of: 1}}, {KIND}, as: recall_of_1}}",
    "averages": "{ema: {decay: 0.9}}",
    "train": "{epochs: 8, save_every: 8 epochs, eval_every: 8 epochs}",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A loader of configs of one trained run, and what its evaluation with kept samples returned."""
    configs = loader(tmp_path_factory.mktemp("tasks"), TASKS)
    ppema.train(configs(FEW))
    return configs, ppema.evaluate(configs(), keep_samples=True)


def again(config, samples):
    """The figures of all samples, each once, from what is kept."""
    results, once = measure_results(config), np.ones((1, samples.samples))
    return {
        figure: values.item()
        for name, measure in samples.measures.items()
        if not measure.without
        for figure, values in _figures(name, results[name], measure, once).items()
    }


def test_every_figure_can_be_computed_again(run):
    configs, figures = run
    config = configs()
    assert METRICS.keys() - {spec.name for spec in config.metrics} == {"top5"}  # accuracy with a k
    files = kept_of(ppema.run(config.output).path)
    assert list(files) == ["ema", "raw"]
    for weights, file in files.items():
        samples = read_samples(file)
        assert (samples.weights, samples.step, samples.samples) == (weights, 8, SAMPLES)
        numbers = {name: value for name, value in figures[weights].items() if not isinstance(value, list)}
        assert again(config, samples) == pytest.approx(numbers, rel=1e-12)
        assert samples.measures["confusion_matrix"].without == "confusion_matrix is an array"
        right = samples.measures["accuracy"].kept["values"]
        assert right.shape == (SAMPLES,) and right.mean() == pytest.approx(numbers["accuracy"])


def test_samples_do_not_depend_on_the_batch_size(run, tmp_path):
    """Nor does their fingerprint, which that of other samples is unlike."""
    configs, _ = run
    before = read_samples(kept_of(ppema.run(configs().output).path)["raw"])
    ppema.evaluate(configs("data.eval.batch_size=50"), "raw", keep_samples=True)
    after = read_samples(kept_of(ppema.run(configs().output).path)["raw"])
    assert before.same_samples(after)
    for name, measure in before.measures.items():
        for key, values in measure.kept.items():
            np.testing.assert_allclose(after.measures[name].kept[key], values, rtol=1e-5, atol=1e-6)
        for key, counts in measure.counts.items():
            ones = np.eye(SAMPLES)
            np.testing.assert_array_equal(after.measures[name].counts[key].sums(ones), counts.sums(ones))
    ppema.evaluate(configs("data.eval.args.samples=49", FEW), "raw", keep_samples=True)
    assert not before.same_samples(read_samples(kept_of(ppema.run(configs().output).path)["raw"]))


def test_the_command_prints_intervals_and_differences(run, capsys):
    configs, figures = run
    assert main(["-c", f"{configs().output}/config.yml", "--intervals", "--json"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    made = json.loads(last)
    for weights, each in made["figures"].items():
        assert each["accuracy"] == pytest.approx(figures[weights]["accuracy"])
    low, high = made["intervals"]["ema"]["accuracy"]
    assert low <= figures["ema"]["accuracy"] <= high
    less = made["differences"]["ema"]["accuracy"]
    assert less["value"] == made["figures"]["ema"]["accuracy"] - made["figures"]["raw"]["accuracy"]
    assert less["low"] <= less["value"] <= less["high"]
    words = ["figure", "weights", "value", "low", "high", "-", "raw", "low", "high", "gained", "lost", "p"]
    assert lines[0].split() == words
    assert less["gained"] - less["lost"] == pytest.approx(less["value"] * SAMPLES, abs=1e-4)
    assert not any("chosen on these samples" in line for line in lines)
    (row,) = (line.split() for line in lines if line.startswith("accuracy ") and " ema " in line)
    assert row[2:5] == [f"{figures['ema']['accuracy']:.4f}", f"{low:.4f}", f"{high:.4f}"]
    assert "no interval: confusion_matrix is an array" in lines
    assert (
        main(
            [
                "-c",
                f"{configs().output}/config.yml",
                "--intervals",
                "-o",
                "train.monitor=ema/loss",
                "train.early_stop={patience: 1}",
            ]
        )
        == 0
    )
    assert "the checkpoint was chosen on these samples: its figures are slightly too good" in capsys.readouterr().out


def test_samples_of_images_are_images(tmp_path):
    """Their pixels are not drawn on their own, and pixels with an ignored label do not count."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(10, 1, 4, 5)).astype(np.float32), rng.integers(0, 3, (10, 4, 5))
    y[rng.random(y.shape) < 0.3] = 255
    np.savez(tmp_path / "a.npz", x=x, y=y)
    part = f"{{name: npz, path: {tmp_path / 'a.npz'}, batch_size: 4}}"
    config = loader(
        tmp_path,
        TASKS,
        model="{name: paddle.nn.Conv2D, args: {in_channels: 1, out_channels: 3, kernel_size: 1}}",
        data=data_section(part, part),
        losses="{}",
        loss="{name: cross_entropy, args: {axis: 1, ignore_index: 255}}",
        metrics="".join(
            f"\n- {{name: {name}, args: {{axis: 1, ignore_index: 255}}}}" for name in ("iou", "accuracy", "perplexity")
        ),
        train="{epochs: 1}",
    )()
    ppema.train(config)
    figures = ppema.evaluate(config, "raw", keep_samples=True)
    samples = read_samples(kept_of(ppema.run(config.output).path)["raw"])
    assert samples.samples == 10
    assert again(config, samples) == pytest.approx(figures["raw"], rel=1e-12)
    (found,) = replicates(config, [samples], resamples=50)
    assert found.each.keys() == figures["raw"].keys()


def test_what_is_not_kept_says_why(run, tmp_path):
    configs, _ = run
    for message, arguments in (
        ("batch_norm$", {"batch_norm": "all"}),
        ("would take .* GiB, most of them for .*; the limit is 9.99e-07 GiB: give samples_limit 1,", {"samples_limit": 1e-6}),
        ("samples_limit: expected a number of GiB above 0, got -1", {"samples_limit": -1}),
    ):
        with pytest.raises(PpemaError, match=message):
            ppema.evaluate(configs(), keep_samples=True, **arguments)
    with pytest.raises(PpemaError, match="samples_limit requires keep_samples or intervals"):
        ppema.evaluate(configs(), samples_limit=1)
    ppema.export(configs(), tmp_path / "w.safetensors")
    with pytest.raises(PpemaError, match="keep_samples: a file of weights belongs to no step of the run"):
        ppema.evaluate(configs(), tmp_path / "w.safetensors", keep_samples=True)


def test_a_loss_that_is_one_number_for_a_batch_has_no_interval(tmp_path):
    config = loader(tmp_path, SMALL, loss="support.losses.scalar_loss", train="{epochs: 1}")()
    ppema.train(config)
    ppema.evaluate(config, "raw", keep_samples=True)
    (found,) = replicates(config, [read_samples(kept_of(ppema.run(config.output).path)["raw"])], resamples=20)
    assert found.without["loss"].startswith("loss is one number for a batch: a loss that returns one value per sample")


def test_a_damaged_file_is_refused(run, tmp_path):
    configs, _ = run
    content = kept_of(ppema.run(configs().output).path)["raw"].read_bytes()
    for damaged, message in (
        (content[:-9], "damaged"),
        (content.replace(b'\\"samples\\":', b'\\"sampler\\":'), "its samples can not be read"),
        (content.replace(b'"samples":', b'"sampler":'), "holds no samples"),
    ):
        assert damaged != content
        (tmp_path / "raw.safetensors").write_bytes(damaged)
        with pytest.raises(CheckpointError, match=message):
            read_samples(tmp_path / "raw.safetensors")
