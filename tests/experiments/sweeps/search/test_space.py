"""The points of a search space, and the checks of its keys and values before anything is trained."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.commands import ROOT
from support.configs import write_config

from ppema.cli.common import flag
from ppema.config import load_config, to_yaml
from ppema.config.swept import FORMS
from ppema.errors import ConfigError
from ppema.experiments.sweeps.search.space_checks import space_of

RATE = "lr.args.learning_rate"
DECAY = "averages.ema.decay"
OPTIMIZERS = "optimizer={name: SGD},{name: Momentum, args: {momentum: 0.9}}"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_config(tmp_path_factory.mktemp("config") / "small.yml")


def points(space):
    return [space.point(number) for number in range(space.trials)]


def refusal(file, *over, overrides=(), **options):
    """The lines of the command line's message."""
    with pytest.raises(ConfigError) as caught:
        space_of(file, overrides, over=over, **options)
    return caught.value.worded(flag).replace(str(file), "small.yml").split("\n")


def test_a_grid_is_every_combination_the_last_key_fastest(file):
    space = space_of(file, over=[f"{RATE}=log:1e-3..1e-1:3", f"{DECAY}=0.9,0.99"])
    assert (space.method, space.trials, space.monitor, space.mode) == ("grid", 6, "ema/accuracy", "max")
    assert points(space) == [{RATE: rate, DECAY: decay} for rate in (0.001, 0.01, 0.1) for decay in (0.9, 0.99)]


def test_a_range_without_points_is_searched_by_tpe(file):
    space = space_of(file, over=[f"{RATE}=log:1e-3..1e-1", f"{DECAY}=0.9,0.99"], trials=7)
    assert (space.method, space.trials, space.point(0)) == ("tpe", 7, None)


def test_random_points_are_a_pure_function_of_seed_and_number(file):
    over = {RATE: "log:1e-3..1e-1", DECAY: [0.9, 0.99], "train.epochs": "int:2..4", "averages.quick.decay": "0.5..0.9"}
    space = space_of(file, over=over, method="random", trials=200)
    found = points(space)
    assert space_of(file, over=dict(reversed(over.items())), method="random").point(150) == found[150]
    assert space_of(file, ["seed=1"], over=over, method="random").point(150) != found[150]
    rates = [math.log10(each[RATE]) for each in found]
    assert min(rates) >= -3 and max(rates) <= -1
    # The mean of 200 uniform draws on [-3, -1], and of those on [0.5, 0.9], within four standard deviations.
    assert abs(sum(rates) / 200 + 2) < 4 * (2 / math.sqrt(12)) / math.sqrt(200)
    assert abs(sum(each["averages.quick.decay"] for each in found) / 200 - 0.7) < 4 * (0.4 / math.sqrt(12)) / math.sqrt(200)
    assert {each["train.epochs"] for each in found} == {2, 3, 4} and {each[DECAY] for each in found} == {0.9, 0.99}


def test_without_keys_there_is_one_trial_for_each_seed(file):
    space = space_of(file, ["seed=5"], seeds=3)
    assert (space.method, points(space), space.seeds, space.overrides({})) == ("grid", [{}], (5, 6, 7), ["seed=5"])


@pytest.mark.parametrize(
    "value", [0.1 + 0.2, 1e-5, 5e-324, 1e22, 3, True, None, "1e-3", "a: b, c", "ü\n", {"name": "x, y", "args": {}}]
)
def test_overrides_carry_values_exactly(file, value):
    space = space_of(file)
    (text,) = space.overrides({"model.args.classes": value})
    found = load_config(file, [text]).model.args["classes"]
    assert (found, type(found)) == (value, type(value))


def test_optuna_stores_mappings_as_their_yaml(file):
    space = space_of(file, over=[OPTIMIZERS, f"{DECAY}=0.9,0.99", f"{RATE}=0.01..0.1", "lr.warmup=null,5 steps"])
    params = {"optimizer": {"name": "SGD"}, DECAY: 0.99, RATE: 0.05, "lr.warmup": None}
    stored = space.to_optuna(params)
    assert stored == {"optimizer": "{name: SGD}", DECAY: 0.99, RATE: 0.05, "lr.warmup": "null"}
    assert all(space.distributions[key].to_internal_repr(value) is not None for key, value in stored.items())
    assert space.from_optuna(stored) == params


def test_the_section_says_the_same_as_the_options(file, tmp_path):
    section = f"{{over: {{{RATE}: log:1e-3..1e-1, {DECAY}: [0.9, 0.99]}}, trials: 9, seeds: 2, monitor: raw/loss}}"
    in_file = space_of(write_config(tmp_path / "small.yml", sweep=section))
    given = space_of(file, over=[f"{RATE}=log:1e-3..1e-1", f"{DECAY}=0.9,0.99"], trials=9, seeds=2, monitor="raw/loss")
    assert in_file.section == given.section and in_file.mode == "min"
    replaced = space_of(in_file.path, over=[f"{RATE}=0.5,0.6"], seeds=1, trials=4)
    expected = {RATE: [0.5, 0.6], DECAY: [0.9, 0.99]}
    assert replaced.section == given.section.replace(over=expected, method="grid", trials=4, seeds=1)


def test_a_run_records_no_section_sweep(file):
    config = load_config(file, [f"sweep.over={{{DECAY}: [0.9, 0.99]}}"])
    assert config.sweep is not None and to_yaml(config) == to_yaml(load_config(file))


def test_each_run_monitors_the_metric_of_the_sweep(file):
    space = space_of(file, over=[f"{DECAY}=0.9,0.99"], monitor="raw/my_score", mode="min")
    assert space.config.train.monitors == ("ema/accuracy", "raw/my_score") and space.config.train.mode == "min"
    assert space.overrides({}) == ["train.monitor=[ema/accuracy, raw/my_score]", "train.mode=min"]


UNKNOWN = "unknown key; did you mean 'batch_size'?"


@pytest.mark.parametrize(
    ("over", "line"),
    [
        ("data.train.bach_size=1,2", f"--over data.train.bach_size=1,2: {UNKNOWN}"),
        (f"{DECAY}=0.9..1.5:3", f"--over {DECAY}=0.9..1.5:3: expected a number in [0, 1), got 1.2"),
        (f"{DECAY}=0.9,high", f"--over {DECAY}=0.9,high: expected a number in [0, 1), got 'high'"),
        (
            "averages.emma.decay=0.9,0.99",
            "--over averages.emma.decay=0.9,0.99: no average is called 'emma'; did you mean 'ema'?",
        ),
        ("train.epochs=1..9", "--over train.epochs=1..9: expected an integer >= 1, got 1.0: write int:1..9"),
        ("seed=1,2", "--over seed=1,2: a sweep sets it: give `seeds`, the number of runs of each trial"),
        ("output=a,b", "--over output=a,b: a sweep sets it: each run has its own folder"),
        ("sweep.trials=1,2", "--over sweep.trials=1,2: it is no part of a run"),
        ("train.monitor=a/b", "--over train.monitor=a/b: all trials are compared by one metric: give `monitor` of the sweep"),
        ("lr", "--over lr: expected key=values, such as lr.args.learning_rate=log:1e-3..1e-1"),
        ("lr..a=1", "--over lr..a=1: expected a key such as lr.args.learning_rate"),
        ("lr=log:1..1", "--over lr=log:1..1: the range log:1.0..1.0 has one number"),
        ("model.name.x=1", "--over model.name.x=1: model.name is 'support.models.Nested', which holds no keys"),
        ("optimizer={nam: SGD},Adam", "--over optimizer={nam: SGD},Adam: name: required key is missing"),
        (
            "averages.ema.half_life=null,1 epoch",
            "--over averages.ema.half_life=null,1 epoch: with averages.ema.half_life = '1 epoch': averages.ema: expected one "
            "of decay, half_life, simple, sigma_rel, got decay and half_life",
        ),
    ],
)
def test_a_wrong_key_or_value_is_refused_in_one_line(file, over, line):
    assert refusal(file, over)[0] == line


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"trials": 3}, "--trials: the grid has 2 points: leave the number out, or choose random or tpe"),
        ({"seeds": 0}, "--seeds: expected an integer >= 1, got 0"),
        ({"monitor": "emma/accuracy"}, "--monitor: no average is called 'emma'; did you mean 'ema'?"),
        ({"monitor": "accuracy"}, "--monitor: expected '<weights>/<metric>' such as 'raw/accuracy', got 'accuracy'"),
        ({"monitor": "raw/my_score"}, "--mode: is 'my_score' best at its max or its min? Say which: max or min"),
        ({"seeds": 9, "overrides": ["seed=4294967290"]}, "--seeds: the seeds from 4294967290 on exceed 4294967295"),
    ],
)
def test_a_wrong_option_is_refused_in_one_line(file, options, line):
    assert refusal(file, f"{DECAY}=0.9,0.99", **options) == [line]


def test_a_method_that_does_not_fit_is_refused(file):
    assert refusal(file, f"{RATE}=log:1e-3..1", method="grid") == [
        f"--over {RATE}=log:1e-3..1: a grid needs the number of points in the range, such as log:0.001..1.0:5"
    ]
    assert refusal(file, f"{RATE}=log:1e-3..1:5", method="random") == [
        f"--over {RATE}=log:1e-3..1:5: `:5` is the number of points in a grid: leave it out for random"
    ]
    assert refusal(file, method="tpe") == ["--method: tpe needs keys to search; there are none in `over`"]
    many = refusal(file, f"{RATE}=0.1..0.2:1000", f"{DECAY}=0.1..0.9:1000")
    assert many == ["--over: 1000000 trials; a sweep has up to 100000"]


def test_every_value_of_a_list_is_checked_without_a_grid_too(file):
    over = [f"{DECAY}=0.9,2,0.99", f"{RATE}=log:1e-3..1", "train.epochs=1,2"]
    assert refusal(file, *over, method="random") == [f"--over {over[0]}: expected a number in [0, 1), got 2"]


def test_a_metric_is_required(tmp_path):
    file = write_config(tmp_path / "small.yml", train="{epochs: 1}")
    assert refusal(file, f"{DECAY}=0.9,0.99") == [
        "--monitor: required, as train.monitor is null: the metric that compares the trials, such as ema/accuracy"
    ]


def test_code_may_give_numbers_of_numpy(file):
    over = {RATE: np.geomspace(0.01, 0.1, 2), DECAY: [np.float64(0.5), 0.9], "train.epochs": (np.int64(2), 3)}
    found = space_of(file, over=over).point(7)
    assert found == {RATE: 0.1, DECAY: 0.9, "train.epochs": 3} and {type(each) for each in found.values()} == {float, int}


@pytest.mark.parametrize(
    ("over", "line"),
    [
        ({DECAY: [0.9, 2**64]}, f"--over {DECAY}: expected an integer of 64 bits, got {2**64}"),
        ({DECAY: 0.9}, f"--over {DECAY}: expected {FORMS}, got 0.9"),
        ({DECAY: {0.9}}, f"--over {DECAY}: expected {FORMS}, got an object of type set"),
        ({1: [1]}, "--over 1: unknown key; known keys: "),
        (f"{DECAY}=0.9", f"over: expected a mapping, or a list of texts 'key=values', got '{DECAY}=0.9'"),
        ([0.9], "over: expected a mapping, or a list of texts 'key=values', got [0.9]"),
    ],
)
def test_other_values_of_code_are_refused(file, over, line):
    with pytest.raises(ConfigError) as caught:
        space_of(file, over=over)
    (found,) = caught.value.worded(flag).split("\n")
    assert found == line or (line.endswith(": ") and found.startswith(line))


def test_every_fault_is_reported_and_those_of_the_file_with_their_place(tmp_path):
    file = write_config(tmp_path / "small.yml", sweep=f"\n  over:\n    {DECAY}: [0.9, 2]\n    lr.foo: [1]")
    assert refusal(file, "train.epochs=0,1", f"{RATE}=-1,2") == [
        "small.yml:12:5: sweep.over.lr.foo: unknown key; known keys: name, args, warmup",
        "--over train.epochs=0,1: expected an integer >= 1, got 0",
        f"small.yml:11:5: sweep.over.{DECAY}: expected a number in [0, 1), got 2",
    ]


def test_faults_of_the_section_are_found_when_the_config_is_loaded(file):
    with pytest.raises(ConfigError) as caught:
        load_config(file, ["sweep={over: {lr: 0.1, lr.foo: [1], data..x: [1], train: [1]}}"])
    assert [(*problem.path[2:], problem.message) for problem in caught.value.problems] == [
        ("lr", "expected a range such as log:1e-3..1e-1, 0.5..0.9 or int:2..8, or values such as 0.9,0.99, got 0.1"),
        ("lr.foo", "'lr', which holds it, is swept as well: sweep one of them"),
        ("data..x", "expected a key such as lr.args.learning_rate"),
        ("train", "all trials are compared by one metric: give `monitor` of the sweep"),
    ]


def test_a_typo_in_the_metric_is_named():
    with pytest.raises(ConfigError, match="^monitor: 'acuracy' is not measured; did you mean 'accuracy'[?]$"):
        space_of(ROOT / "configs/digits_mlp.yml", monitor="ema/acuracy")


def test_a_single_trial_needs_a_metric_only_to_search_or_prune():
    """It is trained as without a sweep."""
    config = ROOT / "configs/digits_mlp.yml"
    space = space_of(config, seeds=3)
    assert (space.trials, space.monitor, space.mode, space.base) == (1, "raw/loss", "min", ())
    assert space_of(config, ["train.evaluate=[ema]"], seeds=3).monitor == "ema/loss"
    for options in ({"prune": True}, {"lengths": True}, {"over": ["lr=0.1,0.2"]}):
        with pytest.raises(ConfigError, match="^monitor: required, as train.monitor is null: "):
            space_of(config, seeds=3, **options)
