"""Averages built from the snapshots of a real run, against the run's whole trajectory in float64 and averages tracked in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.configs import with_snapshots

from ppema.api import average
from ppema.averaging.power import gamma_of
from ppema.averaging.precision import rounded
from ppema.averaging.profiles import ExponentialShape, PowerShape, Profile, solve
from ppema.checkpoint.paths import checkpoints_of
from ppema.errors import CheckpointError
from ppema.posthoc.combine import PostHoc, mean_of, weighted_sum
from ppema.posthoc.snapshots import snapshots_of
from ppema.training.loop import train
from ppema.weights.file import read_weights

STEPS = 120
DIRECT = {"w07": {"sigma_rel": 0.07}, "w15": {"sigma_rel": 0.15}, "w20": {"sigma_rel": 0.20}, "h12": {"half_life": "12 steps"}}
SHAPES = {
    "w07": PowerShape(gamma_of(0.07)),
    "w15": PowerShape(gamma_of(0.15)),
    "w20": PowerShape(gamma_of(0.20)),
    "h12": ExponentialShape(12.0),
}


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """The config of a run with snapshots, and with a checkpoint of every step."""
    config = with_snapshots(tmp_path_factory.mktemp("tracked"), "train.save_every=1 step", "train.keep=1000")
    train(config)
    return config


@pytest.fixture(scope="module")
def trajectory(tracked):
    """The raw weights after steps 0 (which nothing averages), 1, …, 120, by variable: [121, …] float64."""
    steps = [each.arrays("raw") for each in checkpoints_of(tracked).newest(STEPS)]
    zeros = {name: np.zeros_like(array) for name, array in steps[0].items()}
    return {name: np.stack([step[name] for step in [zeros, *steps]]).astype("float64") for name in steps[0]}


@pytest.fixture(scope="module")
def direct(tmp_path_factory):
    """The last checkpoint of the same run with other averages, tracked to the end: averages change no weight."""
    given = [f"averages={{{', '.join(f'{name}: {spec}' for name, spec in DIRECT.items())}}}".replace("'", "")]
    config = with_snapshots(tmp_path_factory.mktemp("direct"), *given, "train.snapshot_every=null")
    train(config)
    return checkpoints_of(config).find("last")


def masses(profile):
    return np.diff(profile.cumulative(np.arange(-1, STEPS + 1)))


def norm(arrays):
    return np.sqrt(sum(float(np.square(array, dtype="float64").sum()) for array in arrays.values()))


def apart(found, wanted):
    return norm({variable: found[variable].astype("float64") - value for variable, value in wanted.items()})


def check_combination(config, trajectory, wanted):
    """The built average is Σ q_i·θ_i with q = Σ x_j·p_j in float64, within the rounding of shadows: a few 1e-7 · Σ |x_j|."""
    snapshots = snapshots_of(config).until(None)
    profiles = [t.profile(each.step) for each in snapshots for t in each.manifest.averages.values()]
    x = solve(profiles, wanted).coefficients
    mixed = sum(float(factor) * masses(profile) for factor, profile in zip(x, profiles, strict=True))
    expected = {variable: np.tensordot(mixed, values, 1) for variable, values in trajectory.items()}
    built = PostHoc(snapshots).build(wanted.shape, "x")
    assert built.arrays.keys() == expected.keys()
    assert apart(built.arrays, expected) <= 1e-6 * np.abs(x).sum() * norm(expected)
    return built


def check_nearness(built, trajectory, wanted, tracked):
    """‖Σ (q_i - r_i)·(θ_i - c)‖ ≤ ‖q - r‖·√(Σ ‖θ_i - c‖²) by Cauchy and Schwarz, for any c, as q and r sum to 1."""
    spread = norm({variable: values[1:] - values[1:].mean(axis=0) for variable, values in trajectory.items()})
    assert apart(built.arrays, tracked) <= built.error * np.linalg.norm(masses(wanted)) * spread + 1e-5 * norm(tracked)
    # It is also far nearer than the averages without it.
    raw = {variable: values[-1] for variable, values in trajectory.items()}
    assert apart(built.arrays, tracked) < 0.1 * apart(raw, tracked)


@pytest.mark.parametrize("name", DIRECT)
def test_a_reconstruction_against_the_average_that_was_tracked(tracked, trajectory, direct, name):
    assert all(np.array_equal(direct.arrays("raw")[variable], values[-1]) for variable, values in trajectory.items())
    wanted = Profile(SHAPES[name], 0, STEPS)
    built = check_combination(tracked, trajectory, wanted)
    assert built.what == "x at step 120 from 12 snapshots"
    check_nearness(built, trajectory, wanted, direct.weights(name))


def test_more_snapshots_come_nearer(tracked, direct):
    snapshots, wanted = snapshots_of(tracked).until(None), direct.weights("w15")
    errors = []
    for every in (4, 2, 1):
        built = PostHoc(snapshots[every - 1 :: every]).build(SHAPES["w15"], "w15")
        errors.append(apart(built.arrays, wanted))
    assert errors[2] < errors[1] < errors[0]


def test_a_tracked_length_comes_back(tracked):
    built = PostHoc(snapshots_of(tracked).until(80), 80).build(PowerShape(gamma_of(0.10)), "wide")
    expected = snapshots_of(tracked).until(80)[-1].average("wide")
    assert built.error is not None and built.error < 1e-12
    assert built.arrays.keys() == expected.keys()
    for variable, value in expected.items():
        np.testing.assert_allclose(built.arrays[variable], value, rtol=1e-6, atol=1e-7)


def test_averages_with_an_interval_and_a_start(tmp_path_factory, trajectory):
    """Updated after steps 24, 28, …, 116, 120; snapshots of steps 30, 40, …, those of 30, 50, … between two updates."""
    settings = "start: 20 steps, update_every: 4"
    folders = [tmp_path_factory.mktemp("interval") for _ in range(2)]
    averages = [
        f"averages={{narrow: {{sigma_rel: 0.05, {settings}}}, wide: {{sigma_rel: 0.10, {settings}}}}}",
        f"averages={{h: {{half_life: 16 steps, {settings}}}}}",
    ]
    config = with_snapshots(folders[0], averages[0])
    train(config)
    other = with_snapshots(folders[1], averages[1], "train.snapshot_every=null")
    train(other)
    assert snapshots_of(config).steps() == list(range(30, 121, 10))
    wanted = Profile(ExponentialShape(16.0), 20, STEPS, 4)
    built = check_combination(config, trajectory, wanted)
    check_nearness(built, trajectory, wanted, checkpoints_of(other).find("last").weights("h"))


def test_what_one_average_covers_is_built_from_that_alone_and_what_none_does_is_raw(tmp_path):
    wide, narrow = "averages.wide.exclude=[linear, conv]", "averages.narrow.exclude=[linear_0.b_0]"
    config = with_snapshots(tmp_path, wide, narrow, "averages.narrow.batch_norm=copy", "train.stop_after=40 steps")
    train(config)
    raw = checkpoints_of(config).find("last").weights("raw")
    posthoc = PostHoc(snapshots_of(config).until(None))
    built = posthoc.build(PowerShape(gamma_of(0.05)), "x")
    assert built.left == {"linear_0.b_0"}
    assert {name for name, array in built.arrays.items() if np.array_equal(array, raw[name])} == {"linear_0.b_0"}
    # The wanted length is that of `narrow`, so variables that it covers equal its snapshot.
    own = snapshots_of(config).until(None)[-1].average("narrow")
    for name, array in own.items():
        np.testing.assert_allclose(built.arrays[name], array, rtol=1e-5, atol=1e-6)
    # BatchNorm's statistics are covered by `wide` alone, which can not make as narrow a profile.
    assert built.error > 0.05


def test_recalibrated_statistics_are_no_average(tmp_path):
    config = with_snapshots(tmp_path, "averages.narrow.batch_norm=recalibrate", "train.stop_after=20 steps")
    train(config)
    (snapshot, _) = snapshots_of(config).until(None)
    assert [name for name in snapshot.average("narrow") if "batch_norm" in name] == ["batch_norm2d_0.b_0", "batch_norm2d_0.w_0"]
    assert sorted(snapshot.rest()) == ["batch_norm2d_0.w_1", "batch_norm2d_0.w_2"]


def test_the_mean_of_the_last_checkpoints(tracked, trajectory):
    built = mean_of(checkpoints_of(tracked).newest(7))
    assert built.what == "the mean of 7 checkpoints, steps 114 to 120"
    for name, values in trajectory.items():
        np.testing.assert_allclose(built.arrays[name], values[-7:].mean(axis=0), rtol=1e-7, atol=1e-12)


def test_sums_are_made_in_float64(tmp_path):
    # In float32 the 1 would be lost beside 1e8.
    terms = [(1.0, tmp_path, {"a": np.array(v, "float32")}) for v in (1e8, 1.0, -1e8)]
    total = weighted_sum(["a"], terms)["a"]
    assert total == 1.0 and total.dtype == "float32" and total.shape == ()


def test_half_weights_are_averaged_by_their_values(tmp_path):
    given = [np.array([1], "bfloat16"), np.array([3], "bfloat16")]
    total = weighted_sum(["a"], [(0.5, tmp_path, {"a": each}) for each in given])["a"]
    assert total == 2.0 and total.dtype == "float32"


def test_terms_that_do_not_fit_each_other(tmp_path):
    first = (1.0, tmp_path / "first", {"a": np.zeros([2, 3])})
    with pytest.raises(CheckpointError, match=r"second: damaged: it lacks variable 'a'"):
        weighted_sum(["a"], [first, (1.0, tmp_path / "second", {})])
    with pytest.raises(CheckpointError, match=r"second: damaged: a has the shape \[3\], elsewhere \[2, 3\]"):
        weighted_sum(["a"], [first, (1.0, tmp_path / "second", {"a": np.zeros(3)})])


def test_the_mean_of_checkpoints_of_a_half_model_is_measured_and_written_in_its_type(tmp_path):
    model = "model={name: support.models.OfType, args: {dtype: bfloat16, classes: 3}}"
    config = with_snapshots(tmp_path, model, "optimizer={name: SGD}")
    train(config)
    outcome = average(config, last_checkpoints=2, recalibrate_batches=0)
    (file,) = outcome.files
    checkpoints = checkpoints_of(config).newest(2)
    wide = [each.arrays("raw")["of_type_0.w_0"].astype("float32") for each in checkpoints]
    written = read_weights(file)["of_type_0.w_0"]
    assert written.tobytes() == rounded((wide[0] + wide[1]) / 2, "bfloat16").tobytes()
    assert written.any()


def test_averages_of_a_run_that_skipped_steps_count_its_updates(tmp_path):
    """One batch of each epoch is bad. The reference is a run on the same data that tracked the length."""
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(80, 1, 8, 8)).astype("float32"), rng.integers(0, 3, 80)
    images += labels[:, None, None, None]
    images[17, 0, 3, 3] = np.nan
    np.savez(tmp_path / "data.npz", images=images, labels=labels)
    train_on = f"{{name: npz, path: {tmp_path / 'data.npz'}, inputs: [images], target: labels, batch_size: 8, shuffle: true}}"
    given = (f"data.train={train_on}", "train.max_skipped=null", "train.snapshot_every=5 steps")
    config = with_snapshots(tmp_path, *given)
    assert train(config).state.updates == 108
    snapshots = snapshots_of(config).until(None)
    assert [(each.step, each.updates) for each in snapshots[1::2]] == [(10 * n, 9 * n) for n in range(1, 13)]
    again = PostHoc(snapshots).build(PowerShape(gamma_of(0.10)), "wide")
    assert again.error is not None and again.error < 1e-12
    assert apart(again.arrays, snapshots[-1].average("wide")) <= 1e-6 * norm(snapshots[-1].average("wide"))
    other = ("train.snapshot_every=null", "averages={x: {sigma_rel: 0.07}}", f"output={tmp_path / 'tracked'}")
    tracked = with_snapshots(tmp_path, *given[:2], *other)
    train(tracked)
    wanted = {name: each.astype("float64") for name, each in checkpoints_of(tracked).find("last").weights("x").items()}
    counted = apart(PostHoc(snapshots).build(PowerShape(gamma_of(0.07)), "x").arrays, wanted)
    uncounted = [replace(each, manifest=each.manifest.model_copy(update={"updates": each.step})) for each in snapshots]
    assert [each.updates for each in uncounted] == [each.step for each in uncounted]
    assert counted < 0.05 * apart(checkpoints_of(tracked).find("last").arrays("raw"), wanted)
    assert counted < 0.5 * apart(PostHoc(uncounted).build(PowerShape(gamma_of(0.07)), "x").arrays, wanted)
