"""Runs that end because a metric does not improve any more, and runs that evaluate chosen weights only."""

from __future__ import annotations

import json

import pytest
from support.configs import loader
from support.runs import content, last

from ppema.checkpoint.store import Checkpoints
from ppema.errors import ConfigError
from ppema.log.records import read_metrics
from ppema.training import evaluations
from ppema.training.loop import train

EVERY = ("train.eval_every=4 steps", "train.save_every=6 steps")
STOP = "train.early_stop={monitor: raw/loss, patience: 3, min_change: 0.1}"
# The losses of raw weights after steps 4, 8, ...: the best by more than 0.1 is that after step 8.
LOSSES = dict(zip(range(4, 29, 4), (3.0, 2.0, 1.95, 2.5, float("nan"), 1.9, 1.0), strict=True))
SAID = "raw/loss did not improve by more than 0.1 in 3 evaluations (12 steps); its best was 2 after step 8"


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A loader of configs whose raw losses are LOSSES. Elsewhere, after an odd stop, the loss is better than all of them."""
    made = loader(tmp_path, train="{epochs: 4, log_every: 5 steps}")
    measure = evaluations.Evaluations.measure

    def measured(self, state, log):
        found = iter([LOSSES.get(state.step, 0.0)])
        real = evaluations.evaluate

        def changed(executor, test, *rest, **named):
            result = real(executor, test, *rest, **named)
            return {**result, "loss": next(found)} if test is self._run.tests["raw"] else result

        with monkeypatch.context() as patch:
            patch.setattr(evaluations, "evaluate", changed)
            return measure(self, state, log)

    monkeypatch.setattr(evaluations.Evaluations, "measure", measured)
    return lambda *overrides: made(*EVERY, *overrides)


def log(run):
    return (run / "log.txt").read_text()


def test_a_run_ends_when_its_metric_does_not_improve_wherever_it_was_interrupted(config, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    result = train(config(STOP, f"output={whole}"))
    assert (result.state.step, result.stopped_by, result.early_stop) == (20, None, SAID)
    assert log(whole).endswith(f"stopped early after step 20, which is saved: {SAID}\n")
    nan = "warning: the evaluation of raw after step 20 has the loss nan: the samples are finite, so it comes from the outputs "
    assert log(whole).count(f"{nan}of the model, or from the loss\n") == log(whole).count("has the loss") == 1
    # Every log interval is complete, and the last one ends with the run.
    assert [each["step"] for each in read_metrics(whole) if each["kind"] == "train"] == [5, 10, 15, 20]
    train(config(STOP, f"output={cut}", "train.stop_after=10 steps"))
    train(config(STOP, f"output={cut}", "train.stop_after=19 steps"))
    assert train(config(STOP, f"output={cut}")).early_stop == SAID
    assert content(last(cut)) == content(last(whole))
    assert Checkpoints(cut / "checkpoints").find("last").manifest.early_stop is not None


def test_a_run_that_had_stopped_says_so_and_goes_on_with_more_patience(config, tmp_path):
    """With more patience it ends with the bytes of the run that had that patience from the start."""
    run, patient = tmp_path / "run", "train.early_stop={monitor: raw/loss, patience: 12, min_change: 0.1}"
    train(config(STOP))
    before = content(last(run))
    result = train(config(STOP))
    assert (result.state.step, result.early_stop, content(last(run))) == (20, SAID, before)
    assert f"it had stopped early: {SAID}; a larger train.early_stop.patience goes on, and so does extend\n" in log(run)
    assert train(config(patient)).early_stop is None
    train(config(patient, f"output={tmp_path / 'whole'}"))
    assert content(last(run)) == content(last(tmp_path / "whole"))


def test_extend_lets_a_stopped_run_go_on_and_counts_anew(config, tmp_path):
    train(config(STOP))
    result = train(config(STOP), extend=True)
    assert (result.state.step, result.early_stop) == (28, None)
    assert "; it goes on, and the patience begins anew\n" in log(tmp_path / "run")


def test_a_patience_in_steps_ends_at_the_evaluation_that_is_that_far(config, tmp_path):
    """9 steps after step 8 end at the evaluation after step 20. Between the last log line and the end are steps 18 to 20."""
    stop = "train.early_stop={monitor: raw/loss, patience: 9 steps, min_change: 0.1}"
    result = train(config(stop, "train.log_every=17 steps", "train.save_every=28 steps"))
    assert (result.state.step, last(tmp_path / "run").name) == (20, "step-00000020")
    assert [each["step"] for each in read_metrics(tmp_path / "run") if each["kind"] == "train"] == [17, 20]


def test_only_chosen_weights_are_evaluated(tmp_path):
    config = loader(tmp_path, train="{steps: 5, eval_every: 5 steps, evaluate: [ema], monitor: ema/loss}")
    result = train(config())
    assert set(result.metrics) == {"ema"} and set(result.best) == {"ema/loss"}
    assert [each["weights"] for each in read_metrics(tmp_path / "run") if each["kind"] == "eval"] == ["ema"]
    assert json.loads(json.dumps(config().model_dump(mode="json")))["train"]["evaluate"] == ["ema"]


def test_a_monitor_must_be_measured_and_have_a_direction(tmp_path):
    config = loader(tmp_path, train="{steps: 5}", metrics="[support.metrics.sq_dist]")
    with pytest.raises(ConfigError, match=r"train.early_stop.monitor: 'f1' is not measured; measured are loss, sq_dist"):
        train(config("train.early_stop={monitor: raw/f1, patience: 1}"))
    with pytest.raises(ConfigError, match=r"train.mode: is 'sq_dist' best at its max or its min\?"):
        train(config("train.early_stop={monitor: raw/sq_dist, patience: 1}", "train.monitor=raw/loss"))
