"""Groups of variables: each optimizer's first step against numpy, frozen BatchNorms, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from support.configs import config
from support.runs import steps

from ppema.errors import ConfigError
from ppema.ir import backend, scope
from ppema.programs.statistics import train_statistics
from ppema.programs.treatments import treatments_of
from ppema.training.setup import prepare_training
from ppema.training.shown.describe import describe

RATE = 0.125
# The first step of each optimizer from the gradient g and the weight w, with a weight decay in the gradient or beside it.
STEPS = {
    "SGD": lambda g, w, rate, decay: w - rate * (g + decay * w),
    "Momentum": lambda g, w, rate, decay: w - rate * (g + decay * w),
    "Adam": lambda g, w, rate, decay: w - rate * (g + decay * w) / (np.abs(g + decay * w) + 1e-8),
    "AdamW": lambda g, w, rate, decay: w * (1 - rate * decay) - rate * g / (np.abs(g) + 1e-8),
}


def first_step(*overrides):
    """The run, the variables before and after its first step, and the gradients, by place in the model."""
    run = prepare_training(config("runtime.onednn=off", f"lr={RATE}", *overrides))
    names = run.programs.model.structured
    before = {place: scope.get(run.scope, name).astype("float64") for place, name in names.items()}
    next(steps(run, 1))
    after = {place: scope.get(run.scope, name).astype("float64") for place, name in names.items()}
    return run, before, after


def gradients(*overrides):
    """By place, from a step of plain SGD on the same batch."""
    _, before, after = first_step("optimizer={name: SGD}", *overrides)
    return {place: (before[place] - after[place]) / RATE for place in before}


@pytest.mark.parametrize("name", STEPS)
def test_rates_and_decays_of_groups(name):
    """The first convolution with a tenth of the rate, biases and norms without decay, all others as usual."""
    found = gradients()
    spec = f"optimizer={{name: {name}, weight_decay: 0.25, no_decay: [bias, norm]}}"
    _, before, after = first_step(spec, "groups=[{match: '^0', lr_scale: 0.5}]")
    for place, value in before.items():
        if "_mean" in place or "_variance" in place:
            continue
        rate = RATE * 0.5 if place.startswith("0") else RATE
        decay = 0.0 if "bias" in place or value.ndim == 1 else 0.25
        expected = STEPS[name](found[place], value, rate, decay)
        # A gradient near zero has a sign that is rounding, for what divides by its size.
        large = np.abs(found[place] + decay * value) > 1e-4
        np.testing.assert_allclose(after[place][large], expected[large], rtol=2e-4, atol=2e-5, err_msg=place)


def test_lamb_leaves_decay_out_where_it_is_asked_to():
    """You et al. 2020 (arXiv:1904.00962), algorithm 2: the step r + λ·w is scaled to the norm of w.

    As Paddle's kernel has it by default (`always_adapt: false`), a step without decay is not scaled.
    """
    found, decay = gradients(), 4.0
    spec = f"optimizer={{name: Lamb, args: {{lamb_weight_decay: {decay}}}, no_decay: [bias, norm]}}"
    _, before, after = first_step(spec, "groups=[{match: '^0', weight_decay: 0}]")
    decayed = set()
    for place, value in before.items():
        if "_mean" in place or "_variance" in place:
            continue
        gradient, scale = found[place], 0.0 if place.startswith("0") or value.ndim == 1 else decay
        step = gradient / (np.abs(gradient) + 1e-6) + scale * value
        trust = np.linalg.norm(value) / np.linalg.norm(step) if scale else 1.0
        # A gradient near zero has a sign that is rounding.
        large = np.abs(gradient) > 1e-4
        expected = value - RATE * trust * step
        np.testing.assert_allclose(after[place][large], expected[large], rtol=5e-3, atol=1e-4, err_msg=place)
        decayed |= {place} if scale else set()
    assert decayed == {"4.weight", "10.weight"}


def test_a_decay_of_a_groups_own():
    found = gradients()
    _, before, after = first_step("optimizer={name: Momentum}", "groups=[{match: '^10.weight$', weight_decay: 0.5}]")
    expected = STEPS["Momentum"](found["10.weight"], before["10.weight"], RATE, 0.5)
    np.testing.assert_allclose(after["10.weight"], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(after["4.weight"], before["4.weight"] - RATE * found["4.weight"], rtol=1e-4, atol=1e-6)


def test_what_is_frozen_stays_and_its_batch_norm_uses_its_own_statistics():
    run, before, after = first_step("groups=[{match: '^[01]\\.', frozen: true}]")
    for place in before:
        same = before[place].tobytes() == after[place].tobytes()
        assert same == place.startswith(("0.", "1.")), place
    norms = [op for op in backend().operations(run.programs.train) if op.kind.rstrip("_") == "batch_norm"]
    assert sorted(op.is_test for op in norms) == [False, True]
    average = run.programs.averages["ema"]
    assert {place.split(".")[0] for place, name in run.programs.model.structured.items() if name in average.shadow_of} == {
        *("4", "5", "10")
    }


FROZEN = "groups=[{match: '^[01][.]', frozen: true}]"


def test_frozen_statistics_are_not_recalibrated():
    """Neither in training nor where weights are measured later: they belong to the weights that training saw."""
    run = prepare_training(config(FROZEN, "averages.ema.batch_norm=recalibrate"))
    norms = {"batch_norm2d_1.w_1", "batch_norm2d_1.w_2"}
    assert set(run.programs.averages["ema"].recalibrated) == norms
    assert train_statistics(run.config, run.train_loader.fields, run.programs.model) == norms
    assert len(train_statistics(config(), run.train_loader.fields, run.programs.model)) == 4


def test_frozen_statistics_of_a_batch_norm_that_is_trained():
    _, before, after = first_step("groups=[{match: '^1._(mean|variance)$', frozen: true}]")
    same = {place for place in before if before[place].tobytes() == after[place].tobytes()}
    assert same == {"1._mean", "1._variance"}


def test_show_previews_them():
    run = prepare_training(
        config("groups=[{match: '^0', lr_scale: 0.5}]", "optimizer={name: Momentum, weight_decay: 0.1, no_decay: [norm]}")
    )
    assert "groups" in [each.name for each in run.programs.passes]
    table = next(each for each in describe(run) if each.title == "Variables")
    column = table.head.index("group")
    assert {row[1]: row[column] for row in table.rows} == {
        **{row[1]: "" for row in table.rows},
        "0.weight": "lr × 0.5",
        **dict.fromkeys(("1.weight", "1.bias", "5.weight", "5.bias"), "weight decay 0"),
    }


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["groups=[{match: '^backbone', frozen: true}]"],
            "matches none of the 12 variables, which are ",
        ),
        (["groups=[{match: '(', frozen: true}]"], "is not a regular expression"),
        (["groups=[{match: '^0', frozen: true}, {match: weight, lr_scale: 2}]"], "0.weight is in groups[0] already"),
        (["groups=[{match: '^0'}]"], "expected lr_scale, weight_decay, frozen_for or frozen: true"),
        (["groups=[{match: '^0', frozen: true, lr_scale: 1}]"], "frozen variables are not trained: remove it"),
        (
            ["optimizer={name: AdamW}", "groups=[{match: '^0', weight_decay: 0.1}]"],
            "for all variables: expected 0",
        ),
        (["groups=[{match: ., frozen: true}]"], "there is nothing to train"),
        (
            ["groups=[{match: '^1.weight$', frozen: true}]"],
            "1.weight is frozen and 1.bias is not: freeze both of a layer",
        ),
        (["groups=[{match: '^1._mean', frozen: true}]"], "1._mean is frozen and 1._variance is not"),
        (["groups=[{match: _mean, lr_scale: 2}]"], "'_mean' matches no trainable variable"),
        (["optimizer={name: SGD, no_decay: [bias]}"], "SGD has no weight decay here: set weight_decay, or remove it"),
        (["optimizer={name: SGD, clip_norm: 1, clip_value: 1}"], "requires that clip_norm is not given: choose one"),
    ],
)
def test_what_is_refused(overrides, said):
    with pytest.raises(ConfigError) as caught:
        prepare_training(config(*overrides))
    assert said in str(caught.value) and len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(("key", "limit"), [("clip_value", 0.001), ("clip_each_norm", 0.01), ("clip_norm", 0.01)])
def test_clipping(key, limit):
    found = {place: value for place, value in gradients().items() if "_mean" not in place and "_variance" not in place}
    _, before, after = first_step(f"optimizer={{name: SGD, {key}: {limit}}}")
    total = np.sqrt(sum((value**2).sum() for value in found.values()))
    clipped = {
        "clip_value": lambda g: np.clip(g, -limit, limit),
        "clip_each_norm": lambda g: g * min(1.0, limit / np.sqrt((g**2).sum())),
        "clip_norm": lambda g: g * min(1.0, limit / total),
    }[key]
    for place, value in found.items():
        np.testing.assert_allclose(after[place], before[place] - RATE * clipped(value), rtol=1e-4, atol=1e-6, err_msg=place)


def test_places_are_matched_as_well_as_names():
    run = prepare_training(config())
    for pattern in ("^0.weight$", "^conv2d_0.w_0$"):
        made = treatments_of(config(f"groups=[{{match: '{pattern}', frozen: true}}]"), run.programs.model)
        assert list(made) == ["conv2d_0.w_0"] and made["conv2d_0.w_0"].frozen
