"""Comparing two configs: the keys that may differ, and the text of differences."""

from __future__ import annotations

import pytest
from support.configs import config

from ppema.config.differing import differences
from ppema.training.resuming.compared import current_form, harmless, plain

PLATEAU = "lr={name: ReduceOnPlateau, args: {learning_rate: 0.1}}"


def test_every_leaf_is_named_but_the_harmless():
    before = {"seed": 0, "model": {"name": "cnn", "args": {"a": 1}}, "output": "x", "train": {"epochs": 3, "keep": 3}}
    now = {"seed": 1, "model": {"name": "cnn", "args": {"a": 2, "b": 3}}, "output": "y", "train": {"epochs": 3, "keep": 9}}
    assert differences(before, now, ("output", "train.keep")) == [
        "seed: was 0, now 1",
        "model.args.a: was 1, now 2",
        "model.args.b: was absent, now 3",
    ]
    assert differences({"args": {"a": 0.002}}, {"args": {}}, ()) == ["args.a: was 0.002, now absent"]
    assert differences({"args": {}}, {"args": {"a": None}}, ()) == ["args.a: was absent, now None"]
    assert differences(before, before, ()) == []


def test_a_section_that_one_config_lacks_is_one_difference():
    without, with_it = (
        {"averages": {}, "init_from": None},
        {"averages": {"long": {"decay": 0.9, "start": None}}, "init_from": {}},
    )
    assert differences(without, with_it, ()) == ["averages.long: added", "init_from: added"]
    assert differences(with_it, without, ()) == ["averages.long: removed", "init_from: removed"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        # How often one looks, and at what, moves no weight,
        (["train.eval_every=7 steps", "train.log_every=3 steps", "train.keep=9", "data.eval.batch_size=5"], []),
        (["output=elsewhere", "runtime.threads=3", "metrics=[accuracy, mse]", "train.stop_after=9 steps"], []),
        # but these do.
        (["seed=1"], ["seed: was 0, now 1"]),
        (["runtime.precision=bfloat16"], ["runtime.precision: was 'float32', now 'bfloat16'"]),
        (["data.train.batch_size=5"], ["data.train.batch_size: was 32, now 5"]),
    ],
)
def test_what_may_differ_and_what_may_not(overrides, said):
    assert differences(plain(config()), plain(config(*overrides)), harmless(config(*overrides))) == said


def test_where_evaluations_decide_about_the_rate_they_have_to_be_the_same():
    before, now = config(PLATEAU), config(PLATEAU, "train.eval_every=7 steps", "data.eval.batch_size=5", "train.keep=9")
    assert differences(plain(before), plain(now), harmless(now)) == [
        "data.eval.batch_size: was 256, now 5",
        "train.eval_every: was '1 epoch', now '7 steps'",
    ]


def test_every_harmless_key_is_one_of_the_configs():
    """A key with a typing error would never be ignored."""
    for key in harmless(config()):
        value = plain(config())
        for part in key.split("."):
            assert part in value, key
            value = value[part]


def test_a_config_of_before_has_what_came_since_at_its_defaults():
    whole = plain(config())
    former = {**whole, "train": {key: value for key, value in whole["train"].items() if key != "failed_save"}}
    del former["init_from"]
    assert former != whole and current_form(former) == current_form(whole) == whole
    unknown = {**whole, "model": 5}
    assert current_form(unknown) is unknown
