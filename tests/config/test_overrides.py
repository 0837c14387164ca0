"""Overrides: `key=value` over what files say."""

import pytest
from support.config_files import errors

from ppema.config import AverageSpec, LearningRate, Named, load_config, to_yaml
from ppema.config.sections.measure import Measure, MetricSpec
from ppema.errors import ConfigError

MARK = "_replace_ is no key of its own: write it in a mapping, as in averages={_replace_: true, ...}"
MERGED = (
    "_replace_: expected true, got {}: an override replaces its whole mapping; to keep the others, override single keys, as in "
    "averages.ema.decay=0.9"
)
ONE_LENGTH = "expected one of decay, half_life, simple, sigma_rel, got none of them"


def test_overrides(files):
    overrides = [
        "train.epochs=5",
        "lr=1e-3",
        "optimizer.args={beta1: 0.8}",
        "optimizer.name=Adam",
        "metrics=[accuracy, mse]",
        "metrics.1=mae",
        "metrics.0.args.k=5",
        "averages.ema.decay=0.9",
        "loss.name=mse",
        "model.args.depth=[1, 2]",
        "model.args.depth.1=3",
        "train.monitor=raw/a=b",
        " seed = 4 ",
        "train.monitor=",
    ]
    config = load_config("minimal.yml", overrides)
    assert config.train.epochs == 5
    assert config.lr == LearningRate(name="constant", args={"learning_rate": 0.001})
    changed = {"name": "Adam", "args": {"beta1": 0.8}, "clip_norm": 1.0}
    assert config.optimizer.model_dump(exclude_defaults=True) == changed
    assert config.metrics == (MetricSpec(name="accuracy", args={"k": 5}), MetricSpec(name="mae"))
    assert config.averages == {"ema": AverageSpec(decay=0.9)}
    assert config.loss == Measure(name="mse")
    assert config.model == Named(name="pkg.Net", args={"depth": [1, 3]})
    assert config.seed == 4
    assert config.train.monitor is None


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("seed", "override seed: expected key=value with a key such as train.epochs, got 'seed'"),
        ("=3", "override : expected key=value with a key such as train.epochs, got '=3'"),
        ("a..b=3", "override a..b: expected key=value with a key such as train.epochs, got 'a..b=3'"),
        ("train.epoch=3", "override train.epoch: unknown key; did you mean 'epochs'?"),
        ("train.epochs.x=3", "override train.epochs.x: train.epochs is 2, which holds no keys"),
        ("output=[1", "override output: not valid YAML: while parsing a flow sequence, expected ',' or ']', but got the end"),
        ("seed=!x 1", "override seed: the tag !x is refused; a config holds plain data only"),
        ("seed={1: 2}", "override seed: expected a name as key, got 1; put it in quotes"),
        (
            "averages.ema.thres_steps=true",
            "override averages.ema.thres_steps: averages.ema: " + ONE_LENGTH,
        ),
        (
            "averages={ema: {}}",
            "override averages: averages.ema: " + ONE_LENGTH,
        ),
        ("averages._replace_=true", f"override averages._replace_: {MARK}"),
        ("averages={a: {_replace_: false, decay: 0.9}}", f"override averages: {MERGED.format('false')}"),
        ("data={train: {_replace_: 1}}", f"override data: {MERGED.format('1')}"),
        ("model.name.x=1", "override model.name.x: model.name is 'pkg.Net', which holds no keys"),
    ],
)
def test_overrides_that_can_not_be_used(files, override, line):
    assert errors("minimal.yml", override) == [line]


def test_an_override_may_say_that_it_replaces(files):
    files(one="_base_: minimal.yml\naverages: {ema: {decay: 0.9}, long: {decay: 0.99, thres_steps: true}}")
    config = load_config("one.yml", ["averages={_replace_: true, long: {_replace_: true, decay: 0.5}}"])
    assert config.averages == {"long": AverageSpec(decay=0.5)}


@pytest.mark.parametrize("index", ["2", "-1", "x", "٣", "9" * 5000])
def test_indexes_outside_a_list(files, index):
    line = f"override metrics.{index}: expected an index into metrics, a list of 2 counted from 0, got '{index}'"
    assert errors("minimal.yml", "metrics=[mse, mae]", f"metrics.{index}=mse") == [line]


def test_options_are_no_deeper_than_files(tmp_path):
    """The deepest one is written to a file that loads; one level more, in the key or in the value, is refused."""
    file = written(tmp_path)
    key = ".".join(["model.args", *["a"] * 40])
    config = load_config(file, [f"{key}={'[' * 8}{']' * 8}"])
    (tmp_path / "again.yml").write_text(to_yaml(config))
    assert load_config(tmp_path / "again.yml") == config
    for option in (f"{key}={'[' * 9}{']' * 9}", f"{key}{'.a' * 9}=1", f"{key}{'.a' * 900}=1"):
        with pytest.raises(ConfigError) as caught:
            load_config(file, [option])
        assert str(caught.value) == f"override {option.partition('=')[0]}: nested more than 50 levels deep"


def test_an_option_does_not_reach_the_terminal(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load_config(written(tmp_path), ["train.\033[2J\n=3"])
    assert str(caught.value).startswith(
        "override train.\\x1b[2J: expected key=value with a key such as train.epochs, got 'train."
    )
    assert str(caught.value).isprintable()


def written(tmp_path):
    (tmp_path / "a.yml").write_text(
        "model: pkg.Net\noptimizer: SGD\nlr: 0.1\ntrain: {epochs: 1}\n"
        "data: {train: &d {name: digits, split: train, batch_size: 8}, eval: *d}\n"
    )
    return tmp_path / "a.yml"


def test_a_plain_string_is_no_list_of_overrides(files):
    with pytest.raises(ConfigError) as refused:
        load_config("minimal.yml", "lr=0.1")
    assert str(refused.value) == "overrides: expected a list of \"key=value\", got a str: ['lr=0.1']"
