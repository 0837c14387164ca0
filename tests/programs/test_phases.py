"""Groups that are frozen at first: against a run with frozen groups that another one continues, and float64 averages."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import paddle
import pytest
from support.configs import CNN, loader
from support.runs import content, last, stopped_after
from support.scaled import without_casts

from ppema.api import evaluate
from ppema.averaging.decay import FLOATS, Constant, ThresSteps
from ppema.checkpoint.begun import Begun
from ppema.checkpoint.state import BEGINNING
from ppema.config.horizon import Horizon
from ppema.errors import ConfigError
from ppema.ir import backend, scope
from ppema.training.loop import train
from ppema.training.resuming.extension import extension
from ppema.training.setup import prepare_training
from ppema.training.shown.describe import describe
from ppema.training.stepper import Stepper

# 14 steps. The convolution and its BatchNorm are frozen for 5 of them, the last layer's weight for 9.
GROUPS = "groups=[{match: '^[01][.]', frozen_for: 5 steps, lr_scale: 0.5}, {match: '^5.weight$', frozen_for: 9 steps}]"
AVERAGES = "averages={ema: {decay: 0.9}, quick: {decay: 0.99, thres_steps: true, precision: compensated}}"
SCHEDULES = {"ema": Constant(0.9), "quick": ThresSteps(0.99)}


@pytest.fixture
def load(tmp_path):
    return loader(tmp_path, {**CNN, "train": "{epochs: 2, log_every: 5 steps, eval_every: 4 steps, save_every: 4 steps}"})


class Stepped:
    """A run that a test steps through."""

    def __init__(self, config):
        self.run = prepare_training(config)
        self._stepper, self._state = Stepper(self.run, Begun()), BEGINNING
        # The counts of an average are named after its first variable, which depends on what is frozen.
        self._counts = {
            own: f"{key}.{kind}"
            for key, average in self.run.programs.averages.items()
            for own, kind in ((average.count, "count"), (average.weight, "weight"))
        }

    def steps(self, count):
        """Train for `count` steps. Yields after each of them whether it was skipped."""
        loader = self.run.train_loader
        for _ in range(count):
            batches, step = loader.epoch(self._state.epoch, self._state.batch), None
            with paddle.static.scope_guard(self.run.scope):
                while step is None:
                    step = self._stepper.run(next(batches), self._state)
            skipped = step.skipped is not None
            self._state = self._state.advance(step.samples, loader.steps_per_epoch, batches=step.batches, skipped=skipped)
            yield skipped

    @property
    def values(self) -> dict[str, np.ndarray]:
        """The arrays of the whole state, by name. Each average has its "<name>.count" and "<name>.weight"."""
        return {self._counts.get(name, name): array for part in self.run.read().values() for name, array in part.items()}

    def go_on_from(self, other, also):
        """Take the position and all values of `other` that this run has too, or else of `also`."""
        self._state, values = other._state, also | other.values
        del values["learning_rate_0"]  # The executor sets it.
        names = {self._counts.get(name, name): name for part in self.run.state_parts().values() for name in part}
        scope.put(self.run.scope, {name: values[key] for key, name in names.items() if key in values})


def same(a, b):
    return {name for name in a if a[name].tobytes() == b[name].tobytes()}


def places(run, *prefixes):
    return {name for place, name in run.programs.model.structured.items() if place.startswith(prefixes)}


def test_it_is_a_frozen_run_and_then_one_that_goes_on_from_it(load):
    """Bit for bit, in three phases that are made by hand. Until its phase begins, no byte of a variable changes.

    Neither do its moments and beta powers. Its averages are the variable itself.
    """
    settings = (AVERAGES, "optimizer={name: AdamW, weight_decay: 0.01, clip_norm: 0.5}", "runtime.onednn=off")
    run = Stepped(load(GROUPS, *settings))
    head = "{match: '^5.weight$', frozen: true}"
    by_hand = [
        Stepped(load(f"groups=[{{match: '^[01][.]', frozen: true}}, {head}]", *settings)),
        Stepped(load(f"groups=[{{match: '^[01][.]', lr_scale: 0.5}}, {head}]", *settings)),
        Stepped(load("groups=[{match: '^[01][.]', lr_scale: 0.5}]", *settings)),
    ]
    frozen, begun = {*places(run.run, "0.", "1."), *places(run.run, "5.weight")}, run.values
    # The variables, and their moments and beta powers.
    of_frozen = {name for name in begun if name.startswith(tuple(frozen)) and not name.endswith((*SCHEDULES, ".rest"))}
    assert len(of_frozen) >= 2 * len(frozen) - 2, "no moments are kept of the two statistics"
    for step in range(14):
        if step in (5, 9):
            before, after = by_hand[0 if step == 5 else 1], by_hand[1 if step == 5 else 2]
            # A frozen variable has no average in these runs. In the other it is the variable.
            after.go_on_from(before, {f"{name}.{key}": before.values[name] for name in frozen for key in SCHEDULES})
        reference = by_hand[0 if step < 5 else 1 if step < 9 else 2]
        assert list(run.steps(1)) == list(reference.steps(1)) == [False]
        values, expected = run.values, reference.values
        assert expected.keys() <= values.keys() and same(expected, values) == set(expected)
        if step < 5:
            for name in frozen:
                assert {values[f"{name}.{key}"].tobytes() for key in SCHEDULES} == {begun[name].tobytes()}
            assert same(begun, values) >= of_frozen
    assert not same(begun, run.values) & frozen


def test_averages_against_float64(load, monkeypatch):
    """With groups, three phases, accumulation, clipping, BatchNorm, a loss scale, and skipped steps, which do not count."""
    without_casts(monkeypatch)
    optimizer = "optimizer={name: AdamW, weight_decay: 0.01, no_decay: [norm], clip_norm: 0.5}"
    run = Stepped(load(GROUPS, AVERAGES, optimizer, "runtime.precision=float16", "train.accumulate=2", "train.epochs=4"))
    assert "unscale" in [each.name for each in run.run.programs.earlier[0].passes]
    names, trajectory = [each.name for each in run.run.programs.model.parameters], []
    weight = backend().parameters(run.run.programs.train)[0].name
    for step in range(14):
        if step in (3, 8):
            # An infinite weight makes the loss infinite.
            value = scope.get(run.run.scope, weight)
            scope.put(run.run.scope, {weight: np.full_like(value, np.inf)})
            assert list(run.steps(1)) == [True]
            scope.put(run.run.scope, {weight: value})
        else:
            assert list(run.steps(1)) == [False]
            trajectory.append({name: scope.get(run.run.scope, name).astype("float64") for name in names})
    for key, schedule in SCHEDULES.items():
        decays = [schedule(float(n), 1, FLOATS) for n in range(len(trajectory))]
        factors = np.array([(1 - d) * np.prod(decays[i + 1 :]) for i, d in enumerate(decays)])
        average = run.run.programs.averages[key]
        assert set(average.shadow_of) == set(names)
        for name in names:
            expected = sum(f * values[name] for f, values in zip(factors, trajectory, strict=True)) / factors.sum()
            got = scope.get(run.run.scope, average.shadow_of[name])
            assert np.linalg.norm(got - expected) <= 1e-6 * np.linalg.norm(expected), (key, name)


def test_resuming_before_at_and_after_the_end_of_a_phase(load, tmp_path):
    load = partial(load, "averages={ema: {decay: 0.9}}", GROUPS.partition(", {match: '^5")[0] + "]")
    train(load())
    assert "\nno longer frozen after step 5: 5 of the variables\n" in (tmp_path / "run/log.txt").read_text()
    stopped = f"output={tmp_path / 'stopped'}"
    for stop in (4, 5, 6, 14):
        train(load(stopped, f"train.stop_after={stop} steps"))
    assert content(last(tmp_path / "stopped")) == content(last(tmp_path / "run"))


def test_a_signal_within_the_first_step_of_a_phase_saves_the_averages_of_the_phase_before(load, tmp_path, monkeypatch):
    """Statistics that are frozen until step 5 are not measured after it, as in a checkpoint of that step."""
    load = partial(load, GROUPS, "train.accumulate=2", "train.epochs=4")
    train(load("train.stop_after=5 steps", f"output={tmp_path / 'whole'}"))
    # 7 micro-batches in the epoch of steps 1 to 4, and 2 in step 5.
    stopped_after(monkeypatch, 7 + 2 + 1)
    assert train(load()).state.step == 5
    assert "in step 6, of which 1 micro-batch" in (tmp_path / "run/log.txt").read_text()
    ours, theirs = (content(last(tmp_path / name)) for name in ("run", "whole"))
    assert ours["average-measured.safetensors"] == theirs["average-measured.safetensors"]


def test_statistics_of_a_batch_norm_that_is_frozen_are_not_measured(load, tmp_path):
    """`measured` recalibrates. Until step 5 its statistics are those that training uses, as in a later evaluation."""
    run = Stepped(load(GROUPS))
    shadow_of = run.run.programs.averages["measured"].shadow_of
    statistics = {name: shadow_of[name] for name in places(run.run, "1._")}
    for step in range(6):
        list(run.steps(1))
        with paddle.static.scope_guard(run.run.scope):
            run.run.recalibrator.measure("measured")
        equal = {name for name, shadow in statistics.items() if run.values[name].tobytes() == run.values[shadow].tobytes()}
        assert equal == (set(statistics) if step < 5 else set())
    train(load(GROUPS, "train.keep=9"))
    for step, expected in ((4, True), (8, False)):
        checkpoint = tmp_path / f"run/checkpoints/step-{step:08d}"
        copied, measured = evaluate(
            load(GROUPS), weights="measured", checkpoint=checkpoint, batch_norm=["copy", "recalibrate"]
        ).values()
        assert (copied == measured) == expected


def test_show_lists_the_phases(load):
    tables = {table.title: table.rows for table in describe(prepare_training(load(GROUPS)))}
    assert [row[0] for row in tables["Programs"]][:4] == ["startup", "train until step 5", "train until step 9", "train"]
    treated = {row[1]: row[5] for row in tables["Variables"]}
    assert (treated["0.weight"], treated["5.weight"]) == ("frozen for 5 steps, then lr × 0.5", "frozen for 9 steps")


def test_an_extended_run_names_phases_in_percent(load):
    lengths = extension(load("groups=[{match: '^0', frozen_for: 50 %}]"), Horizon(7, 8, 1), Horizon(7, 8, 2)).lengths
    assert [str(each) for each in lengths] == ["groups.0.frozen_for: 50 % was 3.5 steps, now 7"]


@pytest.mark.parametrize(("step", "again"), [(6, True), (7, False)])
def test_an_extended_run_is_in_a_phase_by_its_steps_also_if_some_were_skipped(load, step, again):
    made = extension(load("groups=[{match: '^0', frozen_for: 50 %}]"), Horizon(7, 8, 1), Horizon(7, 8, 2))
    said = made.lines(replace(BEGINNING, step=step, skipped=3))[-1]
    assert said.endswith("; until then the variables are frozen again") == again


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        (
            "{match: '^0', frozen_for: 2 epochs}",
            "frozen_for: 2 epochs are 14 steps, and the run ends after step 14: write frozen",
        ),
        ("{match: '^0', frozen: true, frozen_for: 1 epoch}", "frozen_for: frozen variables are not trained: remove it"),
        ("{match: ., frozen_for: 1 epoch}", "groups: all variables are frozen for 7 steps: there would be nothing to train"),
        (
            "{match: '^1.weight$', frozen_for: 2 steps}, {match: '^1.bias$', frozen_for: 3 steps}",
            "is not: freeze both of a layer, or neither",
        ),
        ("{match: '^1.weight$', frozen_for: 2 steps}", "1.weight is frozen for 2 steps and 1.bias is not: freeze both"),
    ],
)
def test_what_is_refused(load, groups, said):
    with pytest.raises(ConfigError) as caught:
        prepare_training(load(f"groups=[{groups}]"))
    assert said in str(caught.value) and len(str(caught.value).splitlines()) == 1
