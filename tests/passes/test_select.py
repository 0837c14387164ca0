"""Which variables an average covers, and the reason given for each."""

from __future__ import annotations

import pytest

from ppema.errors import ConfigError
from ppema.ir import Parameter
from ppema.passes.select import Selection


def parameter(name, *, trainable=True, averaged=True, dtype="float32"):
    return Parameter(name, (2,), dtype, trainable, averaged, None)


PARAMETERS = [
    parameter("conv_0.w_0"),
    parameter("conv_0.b_0"),
    parameter("norm_0.mean", trainable=False),
    parameter("buffer", trainable=False),
    parameter("frozen_0.w_0", trainable=False),
    parameter("own_0.w_0", averaged=False),
    parameter("seen", trainable=False, averaged=False, dtype="int64"),
]
WRITTEN = {"conv_0.w_0", "conv_0.b_0", "norm_0.mean", "buffer", "own_0.w_0", "seen"}
STATISTICS = {"norm_0.mean"}
PLACES = {"conv_0.w_0": "backbone.weight", "conv_0.b_0": "backbone.bias", "norm_0.mean": "head.norm._mean"}


def rules(**settings):
    found = Selection(**settings).choose(PARAMETERS, WRITTEN, STATISTICS, PLACES)
    return {choice.parameter.name: (choice.how, choice.rule) for choice in found}


def test_everything_that_changes_is_averaged_by_default():
    assert rules() == {
        "conv_0.w_0": ("average", "trained"),
        "conv_0.b_0": ("average", "trained"),
        "norm_0.mean": ("average", "statistic"),
        "buffer": ("average", "statistic"),
        "frozen_0.w_0": ("leave", "frozen"),
        "own_0.w_0": ("leave", "opted out"),
        "seen": ("leave", "whole numbers"),
    }


def test_patterns_match_names_and_places_and_exclude_wins():
    found = rules(include=("^backbone", "mean$"), exclude=(r"[.]b_\d",))
    assert found["conv_0.w_0"] == ("average", "include ^backbone")
    assert found["conv_0.b_0"] == ("leave", r"exclude [.]b_\d")
    assert found["norm_0.mean"] == ("average", "include mean$")
    assert rules(include=("conv",))["norm_0.mean"] == ("leave", "not included")


@pytest.mark.parametrize(("policy", "how"), [("copy", "leave"), ("recalibrate", "recalibrate")])
def test_batch_norms_statistics_may_be_the_raw_models_or_measured(policy, how):
    found = rules(batch_norm=policy)
    assert found["norm_0.mean"] == (how, f"batch_norm: {policy}")
    # A statistic that is not BatchNorm's is averaged under every policy.
    assert found["buffer"] == ("average", "statistic")


@pytest.mark.parametrize("key", ["include", "exclude"])
@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        (
            "backbonne",
            "'backbonne' matches none of the 7 variables, which are backbone.weight, backbone.bias, head.norm._mean and 4 more",
        ),
        ("(", r"'\(' is not a regular expression: "),
    ],
)
def test_a_pattern_that_is_none_or_matches_nothing(key, pattern, said):
    with pytest.raises(ConfigError, match=rf"^{key}\.1: {said}"):
        rules(**{key: ("backbone", pattern)})
