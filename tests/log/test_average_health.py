"""Health of averages in runs: its records, its warnings and their time. Measuring changes nothing."""

from __future__ import annotations

import json

import numpy as np
import paddle
import pytest
from support.configs import blobs, data_section, loader
from support.drawn import drawn, drawn_tags

from ppema.averaging.power import gamma_of
from ppema.checkpoint.store import Checkpoints
from ppema.ir import scope
from ppema.log.average_health import Health
from ppema.log.records import read_metrics
from ppema.training.loop import train
from ppema.training.setup import prepare_training

# Groups "norm" and "linear"; 28 steps.
SECTIONS = {
    "data": data_section(blobs("samples: 50, batch_size: 8"), blobs("samples: 8, batch_size: 8", "test")),
    "lr": "0.05",
    "averages": "{ema: {decay: 0.9}}",
    "train": "{epochs: 4, log_every: 5 steps, eval_every: 8 steps, save_every: 10 steps}",
}
STUCK = "averages={stuck: {decay: 0.999999999, bias_correction: false}}"
STILL = "lr={name: PiecewiseDecay, args: {boundaries: [99 steps], values: [0.0, 0.0]}}"


@pytest.fixture
def config(tmp_path):
    return loader(tmp_path, **SECTIONS)


@pytest.fixture
def health_of(config):
    """A run before its first step, and its Health. Tests change the scope between measurements."""
    opened = []

    def make(*overrides: str):
        run = prepare_training(config(*overrides))
        opened.append(run)
        return run, Health(run.programs, run.scope, 0)

    yield make
    for run in opened:
        run.close()


def healths(output):
    return {r["step"]: r["health"] for r in read_metrics(output) if r["kind"] == "train"}


def warnings(output):
    return [line for line in (output / "log.txt").read_text().splitlines() if line.startswith("warning: ")]


def test_windows_by_hand(config, tmp_path):
    averages = {
        "ema": "{decay: 0.9}",
        "mean": "{simple: true}",
        "late": "{decay: 0.9, start: 12 steps}",
        "sparse": "{decay: 0.9, update_every: 4}",
        "tf": "{decay: 0.9, bias_correction: false}",
        "power": "{sigma_rel: 0.1}",
    }
    train(config(f"averages={{{', '.join(f'{name}: {spec}' for name, spec in averages.items())}}}"))
    recorded = healths(tmp_path / "run")
    found = {step: {name: each["window"] for name, each in health.items()} for step, health in recorded.items()}
    assert list(found) == [5, 10, 15, 20, 25, 28]
    gamma = gamma_of(0.1)
    for step, windows in found.items():
        sparse = step // 4 * 4
        assert windows == {
            "ema": pytest.approx((1 - 0.9**step) / 0.1, rel=1e-9),
            "mean": pytest.approx(step, rel=1e-9),
            "late": pytest.approx((1 - 0.9 ** (step - 12)) / 0.1, rel=1e-9) if step > 12 else None,
            "sparse": pytest.approx(4 * (1 - 0.9**sparse) / (1 - 0.9**4), rel=1e-9),
            "tf": pytest.approx(10, rel=1e-9),
            "power": pytest.approx(1 / (1 - (1 - 1 / step) ** (gamma + 1)), rel=1e-9),
        }


def test_distances_are_those_of_the_saved_arrays(config, tmp_path):
    """Over trained variables, by float64 numpy. BatchNorm's statistics are averaged too, but not measured."""
    train(config("averages={ema: {decay: 0.9}, head: {decay: 0.99, include: [linear]}}"))
    checkpoint = Checkpoints(tmp_path / "run/checkpoints").find("last")
    place_of = {name: place for place, name in checkpoint.manifest.structured.items()}
    raw = {place_of[name]: array.astype("float64") for name, array in checkpoint.arrays("raw").items()}
    found = healths(tmp_path / "run")[28]

    def distance(average, *places):
        shadows = {place_of[name]: array.astype("float64") for name, array in checkpoint.weights(average).items()}
        vectors = [np.concatenate([arrays[place].ravel() for place in places]) for arrays in (raw, shadows)]
        return pytest.approx(np.linalg.norm(vectors[0] - vectors[1]) / np.linalg.norm(vectors[0]), rel=1e-7)

    norm, linear = ("norm.weight", "norm.bias"), ("linear.weight", "linear.bias")
    assert found["ema"]["distance"] == distance("ema", *norm, *linear)
    assert found["ema"]["groups"] == {"norm": distance("ema", *norm), "linear": distance("ema", *linear)}
    assert found["head"]["distance"] == distance("head", *linear)
    assert found["head"]["groups"] == {place: distance("head", place) for place in linear}
    assert found["ema"]["stalled"] == found["head"]["stalled"] == 0.0


def test_layer_groups_come_in_the_models_order(health_of):
    """In the order of the variables' names BatchNorm, at place 1, would precede the convolution at 0."""
    _, health = health_of("model={name: cnn, args: {in_channels: 1, num_classes: 3, widths: [2]}}")
    groups = list(health.measure(0)["ema"].groups)
    assert groups[:2] == ["0", "1"]
    assert groups == sorted(groups, key=int)


@pytest.mark.parametrize("correct", ["true", "false"])
def test_stalled_is_what_the_next_update_leaves(health_of, correct):
    """Random weights, averages within ten units in their last place, and a step at learning rate 0."""
    average = f"averages={{ema: {{decay: 0.9, bias_correction: {correct}}}}}"
    run, health = health_of(average, STILL)
    shadow_of, rng = run.programs.averages["ema"].shadow_of, np.random.default_rng(0)
    weights = {name: scope.get(run.scope, name) for name in shadow_of}
    weights = {name: (3 + rng.normal(size=array.shape)).astype("float32") for name, array in weights.items()}
    apart = {name: rng.integers(-10, 11, array.shape).astype("float32") for name, array in weights.items()}
    shadows = {name: array + apart[name] * np.spacing(array) for name, array in weights.items()}
    scope.put(run.scope, weights)
    scope.put(run.scope, {shadow_of[name]: array for name, array in shadows.items()})
    scope.put(run.scope, {run.programs.averages["ema"].weight: np.array(0.9, "float64")})
    predicted = health.measure(0)["ema"].stalled
    feed = run.programs.model.inputs.feed(next(iter(run.train_loader.epoch(0))), run.train_loader)
    with paddle.static.scope_guard(run.scope):
        run.executor.run(run.programs.train, feed=feed)
    trained = [p.name for p in run.programs.model.parameters if p.trainable]
    differing = sum(np.count_nonzero(weights[name] != shadows[name]) for name in trained)
    kept = sum(
        np.count_nonzero((weights[name] != shadows[name]) & (scope.get(run.scope, shadow_of[name]) == shadows[name]))
        for name in trained
    )
    assert all(np.array_equal(scope.get(run.scope, name), weights[name]) for name in trained)
    assert predicted == kept / differing
    assert 0.2 < predicted < 0.8


def test_an_average_that_float32_stops_is_told_once(config, tmp_path):
    train(config(STUCK))
    output = tmp_path / "run"
    assert all(each["stuck"]["stalled"] > 0.9 for each in healths(output).values())
    (share,) = {round(100 * healths(output)[5]["stuck"]["stalled"])}
    assert warnings(output) == [
        f"warning: the average 'stuck' has stopped moving: float32 rounds {share} % of its updates away "
        "(decay 0.999999999); use precision: compensated, or a shorter average",
        "warning: the average 'stuck' has a window of 1e+09 steps, of which 8 are done: its initial value outweighs all later "
        "weights; train longer, or shorten it",
    ]
    # A resumed run may repeat the warning.
    train(config(STUCK, f"output={tmp_path / 'cut'}", "train.stop_after=12 steps"))
    train(config(STUCK, f"output={tmp_path / 'cut'}"))
    assert len(warnings(tmp_path / "cut")) == 4


def test_a_compensated_average_does_not_stop(config, tmp_path):
    """It keeps the part that float32 loses, and moves there first."""
    train(config("averages={stuck: {decay: 0.999999999, bias_correction: false, precision: compensated}}"))
    assert {each["stuck"]["stalled"] for each in healths(tmp_path / "run").values()} == {0.0}
    assert not [line for line in warnings(tmp_path / "run") if "stopped moving" in line]


def test_weights_that_do_not_move_stop_no_average(config, tmp_path):
    train(config(STUCK, STILL))
    assert not [line for line in warnings(tmp_path / "run") if "stopped moving" in line]


def test_long_windows_are_told_at_evaluations(config, tmp_path):
    """The first is at step 8: a window of 10 is longer, one of 5 is not. Windows that grow with the run never are."""
    averages = (
        "long: {decay: 0.9}, short: {decay: 0.8}, mean: {simple: true}, power: {sigma_rel: 0.28}, "
        "grows: {decay: 0.9999, thres_steps: true}, late: {decay: 0.9, start: 30 %}, sparse: {decay: 0.95, update_every: 3}"
    )
    train(config(f"averages={{{averages}}}"))
    so = "it is still nearly the mean of all weights since it began; train longer, or shorten it"
    assert warnings(tmp_path / "run") == [
        f"warning: the average 'long' has a window of 10 steps, of which 8 are done: {so}",
        # k/(1 - d^k) is a little longer than 1/(1 - d).
        f"warning: the average 'sparse' has a window of 21.0342 steps, of which 6 are done: {so}",
        # Its first evaluation is at step 16; it started after step 8.
        f"warning: the average 'late' has a window of 10 steps, of which 8 are done: {so}",
    ]
    lines = (tmp_path / "run/log.txt").read_text().splitlines()
    assert lines[lines.index(warnings(tmp_path / "run")[0]) - 1].startswith("step 5  average")


def test_an_average_without_a_change_has_stopped(health_of):
    """Updates every 4 steps, and none between; then constant weights; then weights that move without the average."""
    run, health = health_of("averages={sparse: {decay: 0.5, update_every: 4}}")
    shadow_of = run.programs.averages["sparse"].shadow_of
    start = {name: scope.get(run.scope, name) for name in shadow_of}

    def after(step, scale):
        scope.put(run.scope, {name: array * np.float32(scale) + np.float32(scale) for name, array in start.items()})
        health.measure(step)
        return health.stopped()

    assert after(4, 1.0) == [
        "the average 'sparse' has stopped moving: none of its numbers changed in the last 4 steps, though the weights did; "
        "look for bad values in it, or use a shorter average"
    ]
    assert after(8, 1.5) == []
    again = Health(run.programs, run.scope, 8)
    for step, scale in ((11, 2.0), (12, 2.0)):
        scope.put(run.scope, {name: array * np.float32(scale) for name, array in start.items()})
        again.measure(step)
        assert again.stopped() == []


def test_measuring_changes_nothing(config, tmp_path):
    """Measuring at every step or rarely gives the same bytes."""
    for name, often in (("often", "1 step"), ("seldom", "100 %")):
        train(config(f"output={tmp_path / name}", f"train.log_every={often}"))
    paths = [Checkpoints(tmp_path / name / "checkpoints").find("last").path for name in ("often", "seldom")]
    files = [{file.name: file.read_bytes() for file in path.glob("*.safetensors")} for path in paths]
    assert files[0] == files[1]


def test_visualdl_has_the_scalars_and_old_records_are_still_drawn(config, tmp_path):
    train(config("train.stop_after=10 steps"))
    output = tmp_path / "run"
    records = read_metrics(output)
    assert records[0].pop("health").keys() == {"ema"}
    (output / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    train(config())
    tags = {"health/window", "health/distance", "health/stalled", "layers/norm", "layers/linear"}
    assert tags <= set(drawn_tags(output, "ema"))
    assert "health" not in read_metrics(output)[0]
    later = {r["step"]: r["health"]["ema"] for r in read_metrics(output) if "health" in r}
    for tag in tags:
        group, _, key = tag.partition("/")
        value_of = {step: (each["groups"] if group == "layers" else each)[key] for step, each in later.items()}
        assert dict(drawn(output, "ema", tag)) == {step: pytest.approx(value) for step, value in value_of.items()}
    assert [step for step, _ in drawn(output, "ema", "health/decay")] == [5, 10, 15, 20, 25, 28]


def test_the_lines_for_people(config, tmp_path):
    train(config("averages={ema: {decay: 0.9}, late: {decay: 0.9, start: 6 steps}}", "train.stop_after=5 steps"))
    lines = (tmp_path / "run/log.txt").read_text().splitlines()
    distance = healths(tmp_path / "run")[5]["ema"]["distance"]
    assert lines[0].startswith("step 5  epoch 0.71  loss ") and lines[0].endswith(" samples/s")
    assert lines[1:3] == [
        f"step 5  average  ema          decay 0.9  window 4.1 steps  distance {distance:.3g}",
        "step 5  average  late         not begun",
    ]


OF_TYPE = ("model={name: support.models.OfType, args: {dtype: bfloat16, classes: 3}}", "optimizer={name: SGD}")


def test_half_weights_are_measured_as_the_numbers_they_are(config, tmp_path):
    train(config(*OF_TYPE, "averages={ema: {decay: 0.9, include: [of_type]}}"))
    checkpoint = Checkpoints(tmp_path / "run/checkpoints").find("last")
    theta = checkpoint.arrays("raw")["of_type_0.w_0"].astype("float64")
    shadow = checkpoint.arrays("average-ema")["of_type_0.w_0.ema"].astype("float64")
    expected = np.linalg.norm(theta - shadow) / np.linalg.norm(theta)
    assert 0 < expected < 1
    assert healths(tmp_path / "run")[28]["ema"]["distance"] == pytest.approx(expected, rel=1e-6)
