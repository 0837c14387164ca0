"""`_base_` and `_replace_`: how files are laid over each other."""

import os
import time

import pytest
from support.config_files import errors

from ppema.config import AverageSpec, Named, load_config
from ppema.config.sections.measure import Measure, MetricSpec


def test_mappings_merge_and_all_else_is_replaced(files):
    files(
        one="metrics: [mse]\naverages: {ema: {decay: 0.9}, long: {decay: 0.99}}\nseed: 1\n",
        two="averages: {ema: {decay: 0.5}}\nseed: 2\n",
        a="_base_: [minimal.yml, one.yml, two.yml]\nmetrics: [mae]\naverages: {ema: {thres_steps: true}}\n",
    )
    config = load_config("a.yml")
    assert config.seed == 2
    assert config.metrics == (MetricSpec(name="mae"),)
    assert config.averages == {"ema": AverageSpec(decay=0.5, thres_steps=True), "long": AverageSpec(decay=0.99)}


def test_bases_are_relative_to_the_file_that_names_them(files):
    files({"shared/deep/one": "seed: 7", "shared/two": "_base_: deep/one.yml"})
    files(a="_base_: [minimal.yml, shared/two.yml]")
    assert load_config("a.yml").seed == 7


def test_a_base_may_be_shared(files):
    files(
        left="_base_: minimal.yml\nseed: 1",
        right="_base_: minimal.yml\noutput: right",
        a="_base_: [left.yml, right.yml]",
    )
    config = load_config("a.yml")
    assert (config.seed, config.output) == (1, "right")


def test_another_name_drops_what_belonged_to_the_old_one(files):
    files(
        a="_base_: minimal.yml\noptimizer: {name: AdamW, weight_decay: 0.1}",
        b="_base_: minimal.yml\noptimizer: {name: Momentum, weight_decay: 0.1}",
        c="_base_: minimal.yml\ndata: {train: {name: npz, path: x.npz, batch_size: 4}}",
        d="_base_: minimal.yml\nmodel: {name: pkg.Net, args: {name: one}}",
        e="_base_: d.yml\nmodel: {args: {name: two, depth: 3}}",
    )
    assert load_config("a.yml").optimizer.model_dump(exclude_defaults=True) == {"name": "AdamW", "weight_decay": 0.1}
    assert load_config("b.yml").optimizer.args == {"momentum": 0.9}
    assert load_config("b.yml").optimizer.clip_norm == 1.0
    assert load_config("c.yml").data.train.name == "npz"
    assert load_config("e.yml").model == Named(name="pkg.Net", args={"name": "two", "depth": 3})


def test_replace_drops_the_base_s_mapping(files):
    files(
        one="_base_: minimal.yml\naverages: {ema: {decay: 0.9}}",
        two="averages: {_replace_: true, long: {decay: 0.99}}",
        a="_base_: one.yml\naverages: {_replace_: true, short: {decay: 0.5}}",
        b="_base_: one.yml\naverages: {_replace_: false, short: {decay: 0.5}}",
        c="_base_: [one.yml, two.yml]",
        d="_base_: one.yml\naverages: {_replace_: perhaps}",
    )
    assert set(load_config("a.yml").averages) == {"short"}
    assert set(load_config("b.yml").averages) == {"ema", "short"}
    assert set(load_config("c.yml").averages) == {"long"}
    assert errors("d.yml") == ["d.yml:2:12: averages._replace_: expected true or false, got 'perhaps'"]


def test_a_mapping_laid_over_a_shorthand_completes_it(files):
    files(
        one="_base_: minimal.yml\nloss: cross_entropy",
        a="_base_: one.yml\nloss: {args: {label_smoothing: 0.1}}\nlr: {warmup: 10 steps}\nmodel: {args: {depth: 3}}",
        b="_base_: one.yml\noptimizer: SGD",
    )
    config = load_config("a.yml")
    assert config.loss == Measure(name="cross_entropy", args={"label_smoothing": 0.1})
    assert config.lr.model_dump() == {"name": "constant", "args": {"learning_rate": 0.1}, "warmup": "10 steps"}
    assert config.model == Named(name="pkg.Net", args={"depth": 3})
    assert load_config("b.yml").optimizer.model_dump()["args"] == {}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("_base_: nope.yml", "a.yml:1:1: _base_: nope.yml: no such file: {here}/nope.yml"),
        ("_base_: [minimal.yml,\n nope.yml]", "a.yml:2:2: _base_: nope.yml: no such file: {here}/nope.yml"),
        ("_base_: sub/../nope.yml", "a.yml:1:1: _base_: nope.yml: no such file: {here}/nope.yml"),
        ("_base_: 3", "a.yml:1:1: _base_: expected a path or a list of paths, got 3"),
        ("_base_:", "a.yml:1:1: _base_: expected a path or a list of paths, got null"),
        ("_base_: ['']", "a.yml:1:10: _base_: expected a path or a list of paths, got ''"),
        ('_base_: "a\\0b"', "a.yml:1:1: _base_: expected a path or a list of paths, got 'a\\x00b'"),
        ("_base_: [minimal.yml, minimal.yml]", "a.yml:1:23: _base_: 'minimal.yml' is listed twice"),
        ("_base_: .", "a.yml:1:1: _base_: .: expected a YAML file, but this is a directory"),
        ("_base_: a.yml", "a.yml:1:1: _base_: the files inherit in a circle: a.yml -> a.yml"),
        ("_base_: b.yml", "c.yml:1:1: _base_: the files inherit in a circle: a.yml -> b.yml -> c.yml -> a.yml"),
        (
            "seed: 1\ndata: {_base_: x}",
            "a.yml:2:8: data._base_: unknown key; known keys: train, split, eval, normalize, classes, inputs, targets, shapes, "
            "collate",
        ),
    ],
)
def test_bases_that_can_not_be_used(files, text, line):
    files(a=text, b="_base_: c.yml", c="_base_: ./a.yml")
    assert line.replace("{here}", os.getcwd()) in errors()


def test_the_unreadable_parts_of_all_files_are_reported_together(files):
    files(a="_base_: [b.yml, nope.yml, c.yml, d.yml]\nseed: 1\nseed: 2", b="x: [1", c="- 1", d="x: !y z\n3: 4")
    assert errors("a.yml", "seed", "lr=[") == [
        "a.yml:3:1: seed: duplicate key; it is also at a.yml:2:1",
        "override seed: expected key=value with a key such as train.epochs, got 'seed'",
        "override lr: not valid YAML: while parsing a flow node, expected the node content, but found the end",
    ]
    files(a="_base_: [b.yml, nope.yml, c.yml, d.yml]\nseed: 1")
    assert errors() == [
        "b.yml:1:6: not valid YAML: while parsing a flow sequence, expected ',' or ']', but got the end",
        f"a.yml:1:17: _base_: nope.yml: no such file: {os.getcwd()}/nope.yml",
        "c.yml:1:1: expected a mapping, got [1]",
        "d.yml:1:1: x: the tag !y is refused; a config holds plain data only",
        "d.yml:2:1: expected a name as key, got 3; put it in quotes",
    ]


def test_a_lattice_of_files_is_read_quickly(files):
    files(x0="_base_: minimal.yml", y0="_base_: minimal.yml")
    for n in range(1, 19):
        files(**{f"{side}{n}": f"_base_: [x{n - 1}.yml, y{n - 1}.yml]" for side in "xy"})
    start = time.perf_counter()
    assert load_config("x18.yml").train.epochs == 2
    assert time.perf_counter() - start < 5


def test_a_chain_of_files_has_an_end(files):
    files(**{f"x{n}": f"_base_: x{n + 1}.yml" for n in range(40)})
    assert errors("x0.yml") == ["x20.yml:1:1: _base_: more than 20 levels of _base_"]
