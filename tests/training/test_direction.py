"""Runs that monitor a metric whose name does not say whether more or less of it is better."""

from __future__ import annotations

import pytest
from support.configs import loader, with_snapshots
from support.runs import last

import ppema
from ppema.cli.average import main as average_main
from ppema.cli.train import main as train_main
from ppema.errors import ConfigError
from ppema.log.records import read_metrics
from ppema.training import loop
from ppema.training.loop import train

OWN = ("metrics=[accuracy, support.metrics.sq_dist]", "train.monitor=raw/sq_dist")
WHICH = r"train.mode: is 'sq_dist' best at its max or its min\? Say which: max or min"


@pytest.fixture
def config(tmp_path):
    return loader(tmp_path)


@pytest.mark.parametrize("resume", ["auto", "never"])
def test_a_new_run_without_a_direction_is_refused(config, tmp_path, resume):
    with pytest.raises(ConfigError, match=WHICH):
        train(config(*OWN), resume=resume)
    assert not (tmp_path / "run/checkpoints").exists() and not (tmp_path / "run/metrics.jsonl").exists()


def test_a_dry_run_and_the_command_refuse_it_in_one_line(config, tmp_path, monkeypatch, capsys):
    with pytest.raises(ConfigError, match=WHICH):
        loop.dry_run(config(*OWN))
    monkeypatch.chdir(tmp_path)
    overrides = [each for key in (*OWN, "output=run") for each in ("-o", key)]
    assert train_main(["-c", "small.yml", *overrides]) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("Say which: max or min")


def test_the_smallest_is_best_beside_an_accuracy_that_goes_by_its_name(config, tmp_path):
    monitors = "train.monitor=[raw/sq_dist, raw/accuracy]"
    best = train(config(OWN[0], monitors, "train.mode=min", "train.eval_every=1 step")).best
    measured = [record for record in read_metrics(tmp_path / "run") if record.get("weights") == "raw"]
    figures = [record["sq_dist"] for record in measured]
    assert len(set(figures)) > 2
    assert best["raw/sq_dist"].value == min(figures)
    assert best["raw/accuracy"].value == max(record["accuracy"] for record in measured)


def test_a_run_of_an_earlier_version_goes_on_with_a_warning(config, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr("ppema.training.resuming.resume.check_directions", lambda config: None)
        train(config(*OWN, "train.stop_after=10 steps"))
    capsys.readouterr()
    train(config(*OWN))
    said = "warning: the largest 'sq_dist' counts as best: train.mode is null; a new run must say max or min"
    assert capsys.readouterr().err.count(said) == 1
    assert last(tmp_path / "run").name == "step-00000028"


def test_a_search_by_a_metric_without_a_direction(tmp_path, monkeypatch, capsys):
    made = ("train.epochs=6", OWN[0])
    train(with_snapshots(tmp_path, *made))
    run = tmp_path / "run"

    def search(*overrides, **arguments):
        found = with_snapshots(tmp_path, *made, *overrides)
        return ppema.average(found, recalibrate_batches=0, **{"metric": "sq_dist", "search": "grid", "points": 2, **arguments})

    with pytest.raises(ConfigError, match=WHICH):
        search()
    least, most = search("train.mode=min"), search("train.mode=max")
    figures = [row.metrics["sq_dist"] for row in least.rows]
    assert figures[0] != figures[1]
    assert (least.best.metrics["sq_dist"], most.best.metrics["sq_dist"]) == (min(figures), max(figures))
    second = search("train.monitor=[raw/sq_dist, raw/accuracy]", "train.mode=min", metric="accuracy").best
    assert second.metrics["accuracy"] == max(row.metrics["accuracy"] for row in least.rows)
    assert search(search=None, points=None, sigma_rel=0.1).best is not None, "a single candidate needs no direction"
    monkeypatch.chdir(tmp_path)
    given = ["-o", f"output={run}", "-o", made[0], "-o", made[1], "-o", "train.monitor=raw/accuracy", "-o", "train.mode=max"]
    assert average_main(["-c", "small.yml", *given, "--search", "grid", "--metric", "sq_dist"]) == 2
    said = "--metric: is 'sq_dist' best at its max or its min? Set train.monitor to raw/sq_dist and train.mode to max or min"
    assert capsys.readouterr().err.splitlines()[-1] == said
