"""Intervals over the samples of evaluations, in comparisons of runs whose samples a test wrote."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from scipy import stats
from support.written_runs import accuracies, write_run

import ppema
from ppema.cli.compare import main
from ppema.errors import PpemaError
from ppema.evaluation.samples.bootstrap import drawn
from ppema.evaluation.samples.interval_rows import signed
from ppema.evaluation.samples.kept_samples import KeptSamples, MeasureSamples, write_samples
from ppema.evaluation.samples.right_or_wrong import Discordant

SAMPLES = 200


def right(seed: int, count: int) -> np.ndarray:
    """Which samples a model gets right, `count` of them: hard samples are hard for all models."""
    found = np.argsort(np.argsort(np.arange(SAMPLES) + np.random.default_rng(seed).normal(0, 20, SAMPLES)))
    return (found < count).astype(np.float32)


def keep(folder, weights: str, values: np.ndarray, fingerprint: str = "a") -> None:
    accuracy = MeasureSamples({"name": "accuracy"}, {"accuracy": float(values.mean())}, {"values": values}, {})
    write_samples(folder, KeptSamples(weights, 40, len(values), fingerprint, {"accuracy": accuracy}))


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Two runs of two seeds; the values of raw and ema by run."""
    monkeypatch.chdir(tmp_path)
    values = {}
    for name, lr, counts in (("slow", 0.1, (170, 176)), ("fast", 0.2, (181, 184))):
        for seed in (0, 1):
            each = {"raw": right(seed, counts[0] + seed), "ema": right(seed + 10, counts[1] - seed)}
            folder = write_run(
                tmp_path / f"{name}-s{seed}",
                accuracies(**{weights: float(found.mean()) for weights, found in each.items()}),
                f"lr={lr}",
                f"seed={seed}",
            )
            for weights, found in each.items():
                keep(folder, weights, found)
            values[f"{name}-s{seed}"] = each
    return values


def ends(replicates: np.ndarray) -> list[float]:
    return np.quantile(replicates, [0.025, 0.975]).tolist()


def test_one_run_tells_whether_its_average_helps(runs):
    found = ppema.compare(["slow-s0"], metric="accuracy", intervals=True)
    times = np.concatenate(list(drawn(SAMPLES))) / SAMPLES
    raw, ema = (times @ runs["slow-s0"][weights] for weights in ("raw", "ema"))
    samples = found.samples
    assert samples is not None and samples.samples == SAMPLES
    assert [[each.over_samples.low, each.over_samples.high] for each in samples.rows] == [
        pytest.approx(ends(each), rel=1e-9) for each in (raw, ema)
    ]
    assert all(each.over_both is None for each in (*samples.rows, *(each.found for each in samples.differences)))
    (difference,) = samples.differences
    assert difference.words == "ema - raw, slow-s0"
    over_samples, answers = difference.found.over_samples, difference.found.answers
    assert over_samples is not None and answers is not None
    assert over_samples.value == pytest.approx(0.03)
    assert [over_samples.low, over_samples.high] == pytest.approx(ends(ema - raw), abs=1e-9)
    gained, lost = (int((runs["slow-s0"][a] > runs["slow-s0"][b]).sum()) for a, b in (("ema", "raw"), ("raw", "ema")))
    assert answers == Discordant(gained, lost, pytest.approx(stats.binomtest(lost, lost + gained).pvalue))
    # The samples that both get right cancel.
    assert over_samples.high - over_samples.low < np.ptp(ends(raw)) + np.ptp(ends(ema))
    assert "another seed of training" in found.text()


def test_several_seeds_have_intervals_over_samples_and_over_both(runs, capsys):
    assert main([*runs, "--metric", "accuracy", "--intervals", "--json"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    made = json.loads(last)["samples"]
    assert [each["words"] for each in made["differences"]] == [
        "ema - raw, slow",
        "ema - raw, fast",
        "fast - slow, raw",
        "fast - slow, ema",
    ]
    times = np.concatenate(list(drawn(SAMPLES))) / SAMPLES
    change = sum(times @ (runs[f"fast-s{seed}"]["raw"] - runs[f"slow-s{seed}"]["raw"]) for seed in (0, 1)) / 2
    groups = made["differences"][2]
    assert [groups["over_samples"][key] for key in ("low", "high")] == pytest.approx(ends(change), abs=1e-9)
    low, high = (groups["over_both"][key] - groups["value"] for key in ("low", "high"))
    seeds = [np.mean(runs[f"fast-s{seed}"]["raw"]) - np.mean(runs[f"slow-s{seed}"]["raw"]) for seed in (0, 1)]
    student = stats.t.ppf(0.975, 1) * stats.sem(seeds)
    assert [low, high] == pytest.approx(
        [sign * np.hypot(student, end - groups["value"]) for sign, end in zip((-1, 1), ends(change), strict=True)]
    )
    assert groups["answers"] is None
    for title in ("95% intervals over the 200 samples", "95% intervals over the 200 samples and over seeds"):
        assert title in lines
    assert all(len(line) <= 80 for line in lines)


def test_what_can_not_have_intervals_is_one_line(runs, tmp_path, capsys):
    def refused(*names):
        with pytest.raises(PpemaError) as caught:
            ppema.compare(names or runs, metric="accuracy", intervals=True)
        assert "\n" not in str(caught.value) and caught.value.exit_code == 2
        return str(caught.value)

    keep(tmp_path / "fast-s1", "ema", runs["fast-s1"]["ema"], fingerprint="b")
    assert refused() == "intervals: slow-s0 and fast-s1 are evaluated on different samples"
    keep(tmp_path / "fast-s1", "ema", right(5, 100))
    assert refused("fast-s1").endswith(
        "ema.safetensors has 0.5 for accuracy, and the run's evaluation 0.915: keep the samples again"
    )
    (tmp_path / "fast-s1/samples/step-00000040/raw.safetensors").unlink()
    assert refused("fast-s1") == (
        "intervals: fast-s1 keeps no samples of raw at step 40, and its checkpoint fast-s1/checkpoints/step-00000040 is gone"
    )


def test_all_missing_samples_are_one_list_of_commands(runs, tmp_path, capsys):
    for name in ("fast-s1", "slow-s0"):
        shutil.rmtree(tmp_path / name / "samples")
        (tmp_path / name / "checkpoints/step-00000040").mkdir(parents=True)
    assert main([*runs, "--intervals"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "--intervals: 2 evaluations lack samples, which are kept by:",
        *(
            f"  ppema eval -c {name}/config.yml --checkpoint {name}/checkpoints/step-00000040 --keep-samples"
            for name in ("slow-s0", "fast-s1")
        ),
    ]


@pytest.mark.parametrize("perfect", [("ema",), ("raw", "ema")])
def test_a_perfect_run_keeps_its_figures(tmp_path, perfect):
    """An accuracy of 1 has Clopper's and Pearson's interval, and differences from it."""
    values = {"raw": right(0, 190), "ema": right(1, 195)} | dict.fromkeys(perfect, np.ones(SAMPLES, np.float32))
    folder = write_run(tmp_path / "a", accuracies(**{weights: float(found.mean()) for weights, found in values.items()}))
    for weights, found in values.items():
        keep(folder, weights, found)
    made = ppema.compare(folder, intervals=True)
    assert made.samples is not None
    rows = {row.weights: row.over_samples for row in made.samples.rows}
    assert [rows["ema"].low, rows["ema"].high] == [pytest.approx(0.025 ** (1 / SAMPLES)), 1.0]
    (difference,) = made.samples.differences
    assert difference.found.value == pytest.approx(1 - values["raw"].mean())
    assert "accuracy: the interval of exactly 0 or 1 is Clopper's and Pearson's" in made.notes
    assert not any("no interval" in note for note in made.notes)
    over_samples, answers = difference.found.over_samples, difference.found.answers
    if len(perfect) == 1:
        assert over_samples is not None and answers == Discordant(10, 0, pytest.approx(2**-9))
    else:
        assert over_samples is None and answers == Discordant(0, 0, 1.0)
        assert ["ema", "-", "raw,", "a", "0", "-", "0", "0", "1.000"] in map(str.split, made.text().splitlines())


def test_small_differences_show_their_sign():
    assert signed(-1.08e-05, -2.2e-05, 3e-07) == ["-1.1e-05", "-2.2e-05", "+3.0e-07"]
    assert signed(3 / 355, 1e-17, 7 / 355) == ["+0.0085", "0", "+0.0197"]


def test_intervals_say_what_was_chosen_on_their_samples(runs):
    """A figure that decided something is too good; no interval over samples covers that."""
    found = ppema.compare(["slow-s0"], intervals=True, objective="best").notes
    assert any(note.startswith("the evaluation of each run was chosen on these samples") for note in found)
    assert not any("chosen" in note for note in ppema.compare(["slow-s0"], intervals=True).notes)
