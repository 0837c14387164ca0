"""The models themselves: defaults, shorthands, and every refusal in our words."""

import dataclasses

import pytest
from support.config_values import MINIMAL, errors

from ppema.config import AverageSpec, Config, Digits, Duration, LearningRate, Named, Optimizer
from ppema.config.sections.measure import Measure, MetricSpec
from ppema.errors import ConfigError

IN_FLOAT32 = "expected a number in [1.2e-38, 3.4e+38], as float32 has them"
ONE_LENGTH = "expected one of decay, half_life, simple, sigma_rel, got "


def test_defaults():
    config = Config.model_validate(MINIMAL)
    assert config.seed == 0
    assert config.model == Named(name="pkg.Net", args={})
    assert config.loss == Measure(name="cross_entropy")
    assert config.metrics == (MetricSpec(name="accuracy"),)
    assert config.optimizer == Optimizer(name="Adam", args={}, weight_decay=None, clip_norm=None)
    assert config.lr == LearningRate(name="constant", args={"learning_rate": 0.1}, warmup=None)
    assert config.averages == {}
    assert config.train.stop_after is None
    assert config.train.log_every == Duration(50, "steps")
    assert config.train.eval_every == config.train.save_every == Duration(1, "epochs")
    assert (config.train.monitor, config.train.mode) == (None, None)
    assert (config.runtime.threads, config.runtime.device) == ("auto", "auto")
    assert config.output is None
    assert config.data.train == Digits(split="train", batch_size=64, shuffle=False, drop_last=False, workers=0)


def test_nothing_of_it_changes():
    config = Config.model_validate(MINIMAL)
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 1  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ValueError, match="frozen"):
        config.train.epochs = 1  # pyright: ignore[reportAttributeAccessIssue]


def test_arguments_are_copied():
    args = {"sizes": [1, (2, 3)]}
    config = Config.model_validate({**MINIMAL, "model": {"name": "x.y", "args": args}})
    args["sizes"].append(4)
    assert config.model.args == {"sizes": [1, [2, 3]]}


def test_an_empty_config_lacks_every_required_key():
    with pytest.raises(ConfigError) as caught:
        Config()  # pyright: ignore[reportCallIssue]
    assert str(caught.value).splitlines() == [
        "model: required key is missing",
        "data: required key is missing",
        "optimizer: required key is missing",
        "lr: required key is missing",
        "train: required key is missing",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": "5"}, "seed: expected an integer in [0, 4294967295], got '5'"),
        ({"seed": True}, "seed: expected an integer in [0, 4294967295], got true"),
        ({"seed": 1.0}, "seed: expected an integer in [0, 4294967295], got 1.0"),
        ({"seed": -1}, "seed: expected an integer in [0, 4294967295], got -1"),
        ({"sed": 1}, "sed: unknown key; did you mean 'seed'?"),
        ({"model": 3}, "model: expected a name or a mapping with a name, got 3"),
        ({"model": ""}, "model.name: expected a string that is not empty, got ''"),
        ({"model": {"args": {}}}, "model.name: required key is missing"),
        ({"model": {"name": "x", "arg": {}}}, "model.arg: unknown key; did you mean 'args'?"),
        ({"model": {"name": "x", "args": None}}, "model.args: expected a mapping, got null"),
        ({"model": {"name": "x", "args": {3: 1}}}, "model.args.3: expected a name as key, got 3; put it in quotes"),
        ({"model": {"name": "x", "args": {"f": [len]}}}, "model.args.f.0: expected plain data, got an object of type "),
        ({"data": None}, "data: expected a mapping, got null"),
        ({"metrics": "accuracy"}, "metrics: expected a list, got 'accuracy'"),
        ({"metrics": ["accuracy", 1]}, "metrics.1: expected a name or a mapping with a name, got 1"),
        ({"optimizer": {"name": "SGD", "clip_norm": 0}}, "optimizer.clip_norm: expected a number > 0, got 0"),
        ({"optimizer": {"name": "SGD", "weight_decay": -1}}, "optimizer.weight_decay: expected a number >= 0, got -1"),
        ({"optimizer": {"name": "SGD", "clip_norm": 1e-50}}, f"optimizer.clip_norm: {IN_FLOAT32}, got 1e-50"),
        ({"optimizer": {"name": "SGD", "clip_norm": 1e39}}, f"optimizer.clip_norm: {IN_FLOAT32}, got 1e+39"),
        ({"optimizer": {"name": "SGD", "weight_decay": 1e-50}}, f"optimizer.weight_decay: {IN_FLOAT32}, got 1e-50"),
        ({"optimizer": {"name": "Adam", "args": {"epsilon": 1e-50}}}, f"optimizer.args.epsilon: {IN_FLOAT32}, got 1e-50"),
        (
            {"optimizer": {"name": "Adam", "args": {"beta2": 0.99999999}}},
            "optimizer.args.beta2: expected a number that float32 does not round to 1, got 0.99999999",
        ),
        ({"lr": 1e-50}, f"lr: {IN_FLOAT32}, got 1e-50"),
        ({"lr": 10**39}, f"lr: {IN_FLOAT32}, got 1{'0' * 39}"),
        (
            {"averages": {"ema": {"decay": 0.9, "overwrite_every": "1 epoch", "overwrite_mix": 1e-50}}},
            f"averages.ema.overwrite_mix: {IN_FLOAT32}, got 1e-50",
        ),
        ({"lr": 0}, "lr: expected a number > 0, got 0"),
        ({"lr": float("inf")}, "lr: expected a number > 0, got .inf"),
        ({"lr": float("nan")}, "lr: expected a number > 0, got .nan"),
        ({"lr": "0.05"}, "lr: expected a number > 0 or a name, got the text '0.05': write the number without quotes"),
        ({"lr": True}, "lr: expected a number > 0 or a mapping with a name, got true"),
        ({"lr": [1]}, "lr: expected a number > 0 or a mapping with a name, got [1]"),
        ({"averages": None}, "averages: expected a mapping, got null"),
        (
            {"averages": {"ema": {"decay": 0.9}, "wide": None}},
            "averages.wide: expected a mapping, got null; to leave it out, replace the whole mapping: "
            "{_replace_: true, ema: ...}",
        ),
        ({"averages": {"ema": 0.9}}, "averages.ema: expected a mapping, got 0.9"),
        ({"averages": {"ema": {}}}, "averages.ema: " + ONE_LENGTH + "none of them"),
        (
            {"averages": {"ema": {"decay": 0.9, "simple": True}}},
            "averages.ema: " + ONE_LENGTH + "decay and simple",
        ),
        ({"averages": {"ema": {"simple": True, "thres_steps": True}}}, "averages.ema.thres_steps: requires decay"),
        ({"averages": {"ema": {"decay": 0.0, "ramp": 0.1}}}, "averages.ema.ramp: requires half_life"),
        (
            {"averages": {"ema": {"decay": 0.0, "recalibrate_batches": 3}}},
            "averages.ema.recalibrate_batches: requires batch_norm: recalibrate",
        ),
        (
            {"averages": {"ema": {"decay": 0.0, "overwrite_mix": 0.5}}},
            "averages.ema.overwrite_mix: requires overwrite_every",
        ),
        (
            {"averages": {"ema": {"decay": 0.9, "sharded": True, "overwrite_every": "1 epoch"}}},
            "averages.ema.sharded: can not be combined with overwrite_every, for which each rank needs the whole average",
        ),
        (
            {"averages": {"ema": {"decay": 0.9, "sharded": True, "bias_correction": False}}},
            "averages.ema.sharded: requires bias_correction: a part does not begin with the initial weights",
        ),
        (
            {"averages": {"a": {"decay": 0.9}, "b": {"decay": 0.9, "sharded": True}}, "board": {"histograms": True}},
            "averages.b.sharded: can not be combined with board.histograms, which draws whole averages",
        ),
        (
            {"averages": {"b": {"decay": 0.9, "sharded": True}}, "board": {"pictures": 4}},
            "averages.b.sharded: can not be combined with board.pictures, which draws whole averages",
        ),
        (
            {
                "averages": {
                    "a": {"decay": 0.0, "overwrite_every": "1 epoch"},
                    "b": {"decay": 0.5, "overwrite_every": "1 step"},
                }
            },
            "averages.b.overwrite_every: 'a' overwrites the weights already: choose one",
        ),
        (
            {"averages": {"ema": {"decay": 0.9, "thres_steps": True, "tau": 5.0}}},
            "averages.ema.tau: can not be combined with thres_steps: choose one way to grow",
        ),
        (
            {"averages": {"ema": {"decay": 0.5, "warmup": {"min": 0.6}}}},
            "averages.ema.warmup.min: expected at most the decay, 0.5, got 0.6",
        ),
        (
            {"averages": {"ema": {"sigma_rel": 0.1, "bias_correction": False}}},
            "averages.ema.bias_correction: simple and sigma_rel need no correction: remove it",
        ),
        (
            {"averages": {"ema": {"decay": 0.9, "precision": "float16"}}},
            "averages.ema.precision: expected 'float32' or 'compensated', got 'float16'",
        ),
        ({"averages": {"ema": {"sigma_rel": 0.3}}}, "averages.ema.sigma_rel: expected a number in [0.0001, 0.2886], got 0.3"),
        ({"averages": {"ema": {"decay": 1.0}}}, "averages.ema.decay: expected a number in [0, 1), got 1.0"),
        ({"averages": {"ema": {"decay": float("nan")}}}, "averages.ema.decay: expected a number in [0, 1), got .nan"),
        (
            {"averages": {"raw": {"decay": 0.9}}},
            "averages.raw: 'raw' means the weights themselves; give the average another name",
        ),
        (
            {"averages": {"9": {"decay": 0.9}}},
            "averages.9: expected a name made of letters, digits, '_' and '-' that starts with a letter",
        ),
        ({"train": {"epochs": 0}}, "train.epochs: expected an integer >= 1, got 0"),
        ({"train": {}}, "train: expected epochs or steps, the length of the run; got neither"),
        (
            {"train": {"epochs": 1, "steps": 1}},
            "train: expected epochs or steps, the length of the run; got both: set one of them to null",
        ),
        (
            {"train": {"steps": 1, "evaluate": ["emma"]}, "averages": {"ema": {"decay": 0.9}}},
            "train.evaluate.0: no average is called 'emma'; did you mean 'ema'?",
        ),
        (
            {"train": {"steps": 1, "evaluate": ["raw"], "monitor": ["ema/loss"]}, "averages": {"ema": {"decay": 0.9}}},
            "train.monitor.0: 'ema' is not evaluated: add it to train.evaluate",
        ),
        (
            {"train": {"steps": 1, "early_stop": {"patience": 0}}},
            "train.early_stop.patience: expected a number of evaluations >= 1, or a duration such as '10 epochs', got 0",
        ),
        (
            {"train": {"steps": 1, "early_stop": {"patience": 1}}},
            "train.early_stop.monitor: required, as train.monitor is null",
        ),
        (
            {
                "train": {"steps": 1, "early_stop": {"patience": "1 step", "monitor": "emu/loss"}},
                "averages": {"ema": {"decay": 0.9}},
            },
            "train.early_stop.monitor: no average is called 'emu'; did you mean 'ema'?",
        ),
        ({"train": {"epochs": 2**63}}, "train.epochs: expected an integer up to 1e15, got 9223372036854775808"),
        ({"train": {"epochs": 10**5000}}, "train.epochs: expected an integer up to 1e15, got an integer of 16610 bits"),
        (
            {"averages": {"ema": {"decay": 0.9, "update_every": 10**15 + 1}}},
            "averages.ema.update_every: expected an integer up to 1e15, got 1000000000000001",
        ),
        ({"runtime": {"threads": 2**63}}, "runtime.threads: expected 'auto' or an integer up to 1e15, got 9223372036854775808"),
        ({"train": {"epochs": 1, "mode": "most"}}, "train.mode: expected 'max' or 'min', got 'most'"),
        (
            {"train": {"epochs": 1, "log_every": 50}},
            "train.log_every: expected a duration such as '50 steps', '1 epoch', '2000 samples' or '10 %', got 50",
        ),
        (
            {"train": {"epochs": 1, "monitor": "accuracy"}},
            "train.monitor: expected '<weights>/<metric>' such as 'raw/accuracy', got 'accuracy'",
        ),
        (
            {"train": {"epochs": 1, "monitor": "raw/"}},
            "train.monitor: expected '<weights>/<metric>' such as 'raw/accuracy', got 'raw/'",
        ),
        ({"train": {"epochs": 1, "monitor": "ema/x"}}, "train.monitor: no average is called 'ema'; known: raw"),
        ({"runtime": {"threads": 0}}, "runtime.threads: expected 'auto' or an integer >= 1, got 0"),
        ({"runtime": {"device": "tpu"}}, "runtime.device: expected 'auto', 'cpu', 'gpu' or 'gpu:N', got 'tpu'"),
        ({"runtime": {"device": "gpu:01"}}, "runtime.device: expected 'auto', 'cpu', 'gpu' or 'gpu:N', got 'gpu:01'"),
        ({"output": ""}, "output: expected a string that is not empty, got ''"),
    ],
)
def test_one_problem(changes, message):
    (line,) = errors(**changes)
    assert line.startswith(message)
    assert line == message or message.endswith("of type ")


@pytest.mark.parametrize("section", ["model", "loss", "optimizer", "lr"])
def test_arguments_are_integers_that_paddle_can_take(section):
    """From 2^63 on Paddle 3.3 ends in a segmentation fault, as with paddle.create_parameter([2**63], "float32")."""
    args = {"many": 2**63, "widths": [-(2**63) - 1, True, 2**63 - 1, -(2**63), {"deep": 10**21}], "rate": 1e300}
    said = "expected an integer of 64 bits, got"
    assert errors(**{section: {"name": "x.y", "args": args}}) == [
        f"{section}.args.many: {said} 9223372036854775808",
        f"{section}.args.widths.0: {said} -9223372036854775809",
        f"{section}.args.widths.4.deep: {said} 1000000000000000000000",
    ]


def test_all_problems_of_all_sections_at_once():
    assert errors(seed=-1, train={"epoch": 1, "monitor": "emma/acc"}, averages={"ema": {"decay": 2}}) == [
        "train.monitor: no average is called 'emma'; did you mean 'ema'?",
        "seed: expected an integer in [0, 4294967295], got -1",
        "averages.ema.decay: expected a number in [0, 1), got 2",
        "train.epoch: unknown key; did you mean 'epochs'?",
    ]


def test_long_values_are_cut():
    assert errors(output=["x" * 50, "y" * 50]) == ["output: expected a string that is not empty, got a list of 2 items"]
    (line,) = errors(loss={"name": {f"key{n}": n for n in range(40)}})
    assert line == "loss.name: expected a string that is not empty, got a mapping of 40 keys"


def test_replace_validates_and_keeps_the_rest():
    config = Config.model_validate({**MINIMAL, "averages": {"ema": {"decay": 0.9}}})
    changed = config.replace(seed=3, averages={"long": {"decay": 0.99}})
    assert (changed.seed, changed.averages) == (3, {"long": AverageSpec(decay=0.99)})
    assert changed.train is config.train
    assert config.model_copy(update={"seed": 4}).seed == 4
    with pytest.raises(ConfigError) as caught:
        config.replace(seed=-1)
    assert str(caught.value) == "seed: expected an integer in [0, 4294967295], got -1"
    with pytest.raises(ConfigError) as caught:
        config.averages["ema"].replace(decay=2.0, ramp=0.1)
    assert str(caught.value) == "decay: expected a number in [0, 1), got 2.0"


def test_duration_is_a_frozen_dataclass():
    assert dataclasses.replace(Duration(1, "epochs"), value=2) == Duration(2, "epochs")


def test_what_is_monitored_may_be_a_list():
    config = Config.model_validate({**MINIMAL, "train": {"epochs": 1, "monitor": ["raw/loss", "raw/accuracy"]}})
    assert config.train.monitors == ("raw/loss", "raw/accuracy")
    assert config.model_dump(mode="json")["train"]["monitor"] == ["raw/loss", "raw/accuracy"]
    assert Config.model_validate({**MINIMAL, "train": {"epochs": 1, "monitor": "raw/loss"}}).train.monitors == ("raw/loss",)
    assert Config.model_validate({**MINIMAL, "train": {"epochs": 1}}).train.monitors == ()
    assert errors(train={"epochs": 1, "monitor": ["raw/loss", 5, "raw/loss", "emma/x"]}, averages={"ema": {"decay": 0.9}}) == [
        "train.monitor.3: no average is called 'emma'; did you mean 'ema'?",
        "train.monitor.1: expected '<weights>/<metric>' such as 'raw/accuracy', got 5",
        "train.monitor.2: 'raw/loss' is listed twice",
    ]
    assert errors(train={"epochs": 1, "monitor": {"a": 1}}) == [
        "train.monitor: expected '<weights>/<metric>' such as 'raw/accuracy', got {a: 1}"
    ]
