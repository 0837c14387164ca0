"""When a run ends early, and where pruning is refused."""

from __future__ import annotations

from typing import Literal

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from support.sweeps import CONFIG, space

from ppema.config import load_config
from ppema.errors import ConfigError
from ppema.experiments.sweeps.search.pruning import MedianAtShare, point_of, share_of


def study(complete, direction: Literal["maximize", "minimize"] = "maximize", runs=1):
    """A study with `complete` trials: the values of each by point."""
    made = optuna.create_study(direction=direction, pruner=MedianAtShare(0.5, runs))
    made.add_trials([create_trial(value=list(each.values())[-1], intermediate_values=each) for each in complete])
    return made


def is_pruned(study, values):
    """Whether a trial with `values` by point is pruned after the last of them."""
    trial = study.ask()
    for point, value in values.items():
        trial.report(value, point)
    found = trial.should_prune()
    study.tell(trial, state=TrialState.FAIL)
    return found


def test_points_are_hundredths_of_each_run():
    """A run of 4 epochs, or the part of it that `stop_after` leaves."""
    config = load_config(CONFIG, ["train={epochs: 4}"])
    assert [share_of(config, step, 23) for step in (23, 69, 92)] == [0.25, 0.75, 1.0]
    assert share_of(config.replace(train=config.train.replace(stop_after="2 epochs")), 23, 23) == 0.5
    assert share_of(load_config(CONFIG, ["train={steps: 50}"]), 10, 23) == 0.2
    assert [point_of(run, share) for run, share in ((0, 0.001), (0, 0.296), (0, 1), (1, 0.25), (2, 1.2))] == [
        1,
        30,
        100,
        125,
        300,
    ]


def test_a_trial_is_compared_with_the_median_at_the_same_share():
    """Trials with other evaluations count with the last one before: the medians at 60 and 70 are 3/8 and 4/8."""
    complete = [{33: each / 8, 66: (each + 2) / 8, 100: 0.9} for each in (1, 2)]
    complete += [{25: 0.0, 50: each / 8, 75: 0.8, 100: 0.9} for each in (3, 4, 5)]
    found = study(complete)
    assert is_pruned(found, {60: 0.37}) and not is_pruned(found, {60: 0.375})
    assert is_pruned(found, {70: 0.49}) and not is_pruned(found, {70: 0.5})
    assert is_pruned(found, {25: 0.9, 70: 0.49}), "an earlier value does not count"
    # A long average lags at first; the end of the last run has nothing to prune.
    assert not is_pruned(found, {49: -1.0}) and not is_pruned(found, {100: -1.0})
    less = study(complete, "minimize")
    assert is_pruned(less, {60: 0.38}) and not is_pruned(less, {60: 0.375})
    assert not is_pruned(study(complete[:4]), {60: -1.0})


def test_each_run_of_a_trial_is_compared_with_runs_of_the_same_index():
    """The third of the trials stopped early in its first run, which shifts nothing of its second one."""
    complete = [{50: 0.5, 100: 0.5, 150: 0.6, 200: 0.6}] * 4 + [{50: 0.5, 140: 0.6, 150: 0.6}]
    found = study(complete, runs=2)
    assert is_pruned(found, {50: 0.5, 100: 0.4}), "the second run would be in vain"
    assert not is_pruned(found, {100: 0.5, 149: 0.0})
    assert is_pruned(found, {100: 0.5, 150: 0.59}) and not is_pruned(found, {100: 0.5, 150: 0.6})
    assert not is_pruned(found, {100: 0.5, 200: 0.0})


BEHIND = "and a longer average is behind a shorter one until late in the run"


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ("averages.ema.decay=0.9,0.99", f"averages.ema.decay is swept, {BEHIND}"),
        ("averages.ema={decay: 0.9},{decay: 0.99}", f"averages.ema is swept, {BEHIND}"),
        (
            "data.train.batch_size=32,64",
            "data.train.batch_size is swept, and so the window of 'ema' is another share of each run",
        ),
        ("train.epochs=2,4", "train.epochs is swept, and so the window of 'ema' is another share of each run"),
    ],
)
def test_pruning_by_averages_of_different_windows_is_refused(over, said):
    with pytest.raises(ConfigError) as refused:
        space([over], None, None, prune=True)
    assert refused.value.problems[0].message == f"{said}: monitor raw/accuracy, or leave out prune"
    space([over], None, None)


@pytest.mark.parametrize(
    ("average", "over"),
    [
        ("{decay: 0.99}", "lr=0.1,0.2"),
        ("{half_life: 10 %}", "train.epochs=2,4"),
        ("{sigma_rel: 0.1}", "data.train.batch_size=32,64"),
        ("{half_life: 1 epoch}", "data.train.batch_size=32,64"),
        ("{decay: 0.99, reference_batch: 32}", "data.train.batch_size=32,64"),
    ],
)
def test_pruning_by_averages_of_one_window_is_not(average, over):
    from ppema.experiments.sweeps.search.space_checks import space_of

    overrides = [f"averages.ema={average}"]
    assert space_of(CONFIG, overrides, over=[over], monitor="ema/accuracy", prune=True).section.prune
