"""The best length over the runs of a trial, and what runs need for the search."""

from __future__ import annotations

import math
from dataclasses import asdict

import pytest
from support.configs import write_config

from ppema.config import load_config
from ppema.experiments.sweeps.search.best_length import best_length, searched_lengths
from ppema.experiments.sweeps.search.snapshots_for_lengths import overrides_for_lengths
from ppema.experiments.sweeps.search.space_checks import space_of
from ppema.experiments.sweeps.sweep_folder import BestLength
from ppema.log.records import to_json
from ppema.posthoc.candidates import Row
from ppema.posthoc.report import Report


def searched(output, accuracies, losses=(), errors=(), metric="accuracy"):
    """The run `output`, with the table of its lengths 0.02, 0.05 and 0.1."""
    rows = [
        Row(f"sigma_rel {length}", length, {"loss": loss, "accuracy": accuracy}, error, 20)
        for length, accuracy, loss, error in zip(
            (0.02, 0.05, 0.1), accuracies, losses or (1.0,) * 3, errors or (0.01,) * 3, strict=True
        )
    ]
    report = Report("sweep", "sigma_rel", 100, metric, rows, rows[0])
    (output / "averages").mkdir(parents=True)
    (output / "averages/sweep.json").write_text(to_json(asdict(report)))
    return output


def best(outputs, metric="accuracy", mode="max"):
    found = best_length([searched_lengths(output, metric) for output in outputs], mode)
    return found and (found.sigma_rel, found.value)


def test_the_best_length_has_the_best_mean_over_the_runs(tmp_path):
    first = searched(tmp_path / "a", (0.95, 0.9, 0.5))
    second = searched(tmp_path / "b", (0.5, 0.9, 0.95))
    found = best_length([searched_lengths(first, "accuracy")], "max")
    assert found == BestLength(name="sigma_rel 0.02", sigma_rel=0.02, value=0.95)
    assert best([first, second]) == (0.05, pytest.approx(0.9)) and best([first], mode="min") == (0.1, 0.5)


def test_of_equal_lengths_that_with_less_loss_is_best(tmp_path):
    run = searched(tmp_path / "a", (0.9, 0.9, 0.9), losses=(0.5, 0.4, 0.6))
    assert best([run]) == (0.05, 0.9)


def test_a_length_that_is_nan_or_far_off_in_one_run_can_not_win(tmp_path):
    far = searched(tmp_path / "far", (0.9, 0.8, 0.7), errors=(1.5, 0.1, math.nan))
    nan = searched(tmp_path / "nan", (0.9, math.nan, 0.7))
    fine = searched(tmp_path / "fine", (0.5, 0.6, 0.7))
    assert best([far, fine]) == (0.05, pytest.approx(0.7))
    assert best([nan, fine]) == (0.02, pytest.approx(0.7))
    assert best([far, nan]) is None


def test_runs_that_were_not_searched_have_no_length(tmp_path):
    run = searched(tmp_path / "a", (0.9, 0.8, 0.7))
    assert best([run, tmp_path / "b"]) is None and best([run], metric="f1") is None and best([]) is None
    (tmp_path / "a/averages/sweep.json").write_text("{")
    assert best([run]) is None


def added(tmp_path, **sections):
    file = write_config(tmp_path / "small.yml", **sections)
    texts = overrides_for_lengths(load_config(file))
    load_config(file, texts)
    return texts


def test_runs_get_two_power_functions_and_snapshots_and_evaluate_no_more(tmp_path):
    narrow, wide = "averages.narrow={sigma_rel: 0.05}", "averages.wide={sigma_rel: 0.1}"
    every = "train.snapshot_every=5 %"
    assert added(tmp_path) == [narrow, wide, "train.evaluate=[raw, ema, quick]", every]
    kept, plain = "{epochs: 4, evaluate: [ema], snapshot_every: 1 epoch}", "{epochs: 4}"
    power = "{wide: {decay: 0.9}, power: {sigma_rel: 0.06, update_every: 2}}"
    assert added(tmp_path, averages=power, train=plain) == [
        "averages.wide-2={sigma_rel: 0.1, update_every: 2}",
        "train.evaluate=[raw, wide, power]",
        every,
    ]
    assert added(tmp_path, averages="{ema: {sigma_rel: 0.2}}", train=kept) == [narrow]
    assert added(tmp_path, averages="{a: {sigma_rel: 0.1}, b: {sigma_rel: 0.2}}", train=kept.replace("[ema]", "[raw]")) == []


def test_a_sweep_of_lengths_adds_them_to_every_run(tmp_path):
    file = write_config(tmp_path / "small.yml")
    space = space_of(file, over=["averages.ema.decay=0.9,0.99"], lengths=True)
    assert [space.config.averages[name].sigma_rel for name in ("narrow", "wide")] == [0.05, 0.1]
    assert space.config.train.evaluate == ("raw", "ema", "quick")
