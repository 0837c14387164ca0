"""The table that ends a sweep, as text."""

from __future__ import annotations

import pytest

from ppema.experiments.sweeps.results_table import short_names, table_of
from ppema.experiments.sweeps.sweep_folder import BestLength, RunResult, SweepResults, TrialResult, best_trial

RATE, DECAY, FAST = "lr.args.learning_rate", "averages.ema.decay", "averages.fast.decay"


def trial(number, value, params, state="complete", **keys):
    runs = tuple(RunResult(seed=seed, output=f"runs/small-sweep/trials/{number:04d}-s{seed}", state=state) for seed in (0, 1))
    return TrialResult(number=number, state=state, params=params, value=value, runs=runs, **keys)


def table(*trials, over=(RATE, DECAY), seeds=(0, 1), mode="max", monitor="ema/accuracy"):
    results = SweepResults(
        output="runs/small-sweep",
        config="small.yml",
        method="grid",
        monitor=monitor,
        mode=mode,
        over=dict.fromkeys(over, "1,2"),
        seeds=seeds,
        trials=trials,
        best=best_trial(trials, mode),
    )
    return "\n".join(table_of(results))


def test_the_best_trial_is_first():
    length = BestLength(name="sigma_rel 0.05157", sigma_rel=0.05157, value=0.92)
    found = table(
        trial(0, 0.9, {RATE: 0.01, DECAY: 0.99995}, spread=0.0123),
        trial(1, 0.91, {RATE: 0.001234567, DECAY: 0.99}, spread=0.0001, length=length),
        trial(2, None, {RATE: 1e-5, DECAY: 0.99}, "failed", error="data.train: no such file: 'a\x1b[31m.npz'"),
        trial(3, None, {}, "waiting"),
    )
    assert found == (
        "                                             ema/               best       its\n"
        "trial  state     learning_rate    decay  accuracy  spread  sigma_rel  accuracy\n"
        "    1  complete    0.001234567     0.99    0.9100  0.0001    0.05157    0.9200\n"
        "    0  complete           0.01  0.99995    0.9000  0.0123          -         -\n"
        "    2  failed          1.0e-05     0.99         -       -          -         -\n"
        "    3  waiting               -        -         -       -          -         -\n"
        "trial 2 failed: data.train: no such file: 'a\\x1b[31m.npz'\n"
        "best: trial 1, ema/accuracy 0.9100 ± 0.0001\n"
        "      lr.args.learning_rate=0.001234567  averages.ema.decay=0.99\n"
        "      sigma_rel 0.05157: accuracy 0.9200\n"
        "run: runs/small-sweep/trials/0001-s0\n"
        "run: runs/small-sweep/trials/0001-s1\n"
        "chosen on data.eval among 2 trials and lengths of an average: measure it on data\n"
        "that chose nothing"
    )


def test_wide_values_follow_their_trial():
    optimizer = {"name": "Momentum", "args": {"momentum": 0.9, "use_nesterov": True}}
    params = {RATE: 0.01, DECAY: 0.99, FAST: 0.9, "optimizer": optimizer}
    found = table(trial(0, 0.25, params), over=tuple(params), seeds=(0,), mode="min", monitor="raw/loss")
    assert found == (
        "                   raw/\n"
        "trial  state       loss\n"
        "    0  complete  0.2500\n"
        "       learning_rate=0.01  ema.decay=0.99  fast.decay=0.9  optimizer={name:\n"
        "       Momentum, args: {momentum: 0.9, use_nesterov: true}}\n"
        "best: trial 0, raw/loss 0.2500\n"
        "      lr.args.learning_rate=0.01  averages.ema.decay=0.99\n"
        "      averages.fast.decay=0.9  optimizer={name: Momentum, args: {momentum: 0.9,\n"
        "      use_nesterov: true}}\n"
        "run: runs/small-sweep/trials/0000-s0\n"
        "run: runs/small-sweep/trials/0000-s1"
    )


@pytest.mark.parametrize("count", [1, 5, 100])
def test_no_line_but_an_error_is_longer_than_80_columns(count):
    keys = [f"model.args.a_rather_long_name_of_an_argument_{index}" for index in range(count)]
    found = table(trial(0, 1e-9, dict.fromkeys(keys, 0.1)), trial(1, None, {}, "failed", error="no " * 99), over=keys)
    (error,) = (line for line in found.split("\n") if line.startswith("trial 1 failed: no no "))
    assert len(error) < 200 and error.endswith("...")
    assert max(len(line) for line in found.split("\n") if line != error) <= 80
    assert found.count("argument_0=0.1") + found.count("argument_0\n") >= 1
    assert "1e-09" in found


def test_equal_reasons_are_one_line():
    lost = "the loss is not finite"
    failed = [trial(number, None, {RATE: number}, "failed", error=lost if number % 2 else "no rate") for number in range(23)]
    other = [trial(30 + number, None, {RATE: number}, "failed", error=f"reason {number}") for number in range(6)]
    lines = table(*failed[:2], *failed[3:4], trial(4, None, {RATE: 1}, "pruned"), over=(RATE,)).split("\n")
    assert lines[6:] == ["trial 0 failed: no rate", f"trials 1, 3 failed: {lost}", "no trial is complete"]
    lines = table(*failed, *other, over=(RATE,)).split("\n")
    assert f"trials 1, 3, 5, 7, 9, 11, 13, 15, 17, 19 and 1 more failed: {lost}" in lines
    assert "trial 32 failed: reason 2" in lines and lines[-2] == "and 3 more failures"


def test_a_sweep_without_a_complete_trial_says_so():
    assert table(over=(), seeds=(0,)) == "                  ema/\ntrial  state  accuracy\nno trial is complete"


def test_many_trials_are_in_results_json():
    found = table(*(trial(number, number / 100, {RATE: 0.1}) for number in range(40)), over=(RATE,))
    lines = found.split("\n")
    assert [line.split()[0] for line in lines[2:32]] == [str(number) for number in range(39, 9, -1)]
    assert lines[32] == "and 10 more trials, in results.json"


def test_keys_have_their_shortest_unambiguous_last_parts():
    keys = [RATE, DECAY, FAST, "x.ema.decay", "decay", "lr.name"]
    assert list(short_names(keys).values()) == [
        "learning_rate",
        "averages.ema.decay",
        "fast.decay",
        "x.ema.decay",
        "decay",
        "name",
    ]
