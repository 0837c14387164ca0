"""Intervals over the samples of evaluations, in comparisons of runs whose samples a test wrote."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.written_runs import accuracies, write_run

import ppema
from ppema.cli.compare import main
from ppema.errors import PpemaError
from ppema.evaluation.samples.bootstrap import drawn
from ppema.evaluation.samples.kept_samples import KeptSamples, MeasureSamples, write_samples

SAMPLES = 200


def right(seed: int, count: int) -> np.ndarray:
    """Which samples a model gets right, `count` of them: hard samples are hard for all models."""
    found = np.argsort(np.argsort(np.arange(SAMPLES) + np.random.default_rng(seed).normal(0, 20, SAMPLES)))
    return (found < count).astype(np.float32)


def keep(folder, weights: str, values: np.ndarray, fingerprint: str = "a") -> None:
    accuracy = MeasureSamples(None, {"accuracy": float(values.mean())}, {"values": values}, {})
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
    assert all(each.over_both is None for each in (*samples.rows, *samples.differences))
    (difference,) = samples.differences
    assert difference.words == "ema - raw, slow-s0"
    assert difference.over_samples.value == pytest.approx(0.03)
    assert [difference.over_samples.low, difference.over_samples.high] == pytest.approx(ends(ema - raw), abs=1e-9)
    assert difference.over_samples.wrong == np.mean(np.round(ema - raw, 9) <= 0)
    # The samples that both get right cancel.
    assert difference.over_samples.high - difference.over_samples.low < np.ptp(ends(raw)) + np.ptp(ends(ema))
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
    for each in (*made["rows"], *made["differences"]):
        low, high = (each["over_both"][key] - each["over_samples"][key] for key in ("low", "high"))
        assert low <= 0.001 and high >= -0.001
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
        "intervals: fast-s1 keeps no samples of raw at step 40: for keep_samples, with config fast-s1/config.yml, its "
        "checkpoint fast-s1/checkpoints/step-00000040 is gone"
    )
    (tmp_path / "fast-s1/checkpoints/step-00000040").mkdir(parents=True)
    assert main(["fast-s1", "--intervals"]) == 2
    assert capsys.readouterr().err.endswith(
        "--intervals: fast-s1 keeps no samples of raw at step 40: run eval with --keep-samples, -c fast-s1/config.yml and "
        "--checkpoint fast-s1/checkpoints/step-00000040\n"
    )
