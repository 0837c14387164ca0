"""Passes of the user's own: the one of docs/passes.md, the place of each kind, and refusals."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import paddle
import pytest
from support.configs import config
from support.runs import steps

from ppema.errors import ConfigError
from ppema.ir import backend, scope
from ppema.passes.target import Pass, TrainProgram
from ppema.training.setup import prepare_training
from ppema.training.shown.describe import describe

PAGE = (Path(__file__).parents[2] / "docs/passes.md").read_text(encoding="utf-8")
SOURCES = re.findall(r"```python\n(.*?)```", PAGE, re.S)


@dataclass(frozen=True)
class Halve(Pass):
    """A pass in a few lines. It halves gradients, weights or averages, whatever its place."""

    name: ClassVar[str] = "halve"
    what: str = "w_0"

    def apply(self, target: TrainProgram) -> str:
        found = [each.variable for each in target.parameters if self.what in each.name]
        with target.appending():
            for each in found:
                paddle.assign(each * 0.5, output=each)
        return f"{len(found)} variables"


def failing():
    raise RuntimeError("out of order")


def names(run):
    return [done.name for done in run.programs.passes]


def test_the_list_of_passes_and_what_each_did():
    run = prepare_training(config())
    averages = ["average", "average", "update averages"]
    more = ["onednn"] if run.onednn.used else []
    assert names(run) == ["forward", "backward", "fuse", "finite", "optimize", *averages, *more]
    done = {each.name: each for each in run.programs.passes}
    assert all(done[name].operations > 0 for name in ("forward", "backward", "finite", "update averages"))
    assert done["optimize"].result == "Momentum" and done["backward"].result == "8 gradients"
    said = "checks the loss, 8 gradients and 4 statistics; a run with a non-finite number is skipped"
    assert done["finite"].result == said
    table = next(each for each in describe(run) if each.title == "Passes of the train program")
    assert [row[0] for row in table.rows] == names(run)


def test_the_pass_of_the_docs_is_one(tmp_path, monkeypatch):
    """Plain SGD moves each filter by its gradient. The pass removes the mean of that movement."""
    source = SOURCES[0]
    assert len(source.splitlines()) < 30
    (tmp_path / "my_passes.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    entry = re.search(r"  - (\{name: my_passes.*\})", PAGE)[1]
    moved = []
    for passes in ("[]", f"[{entry}]"):
        run = prepare_training(config("optimizer={name: SGD}", f"passes={passes}"))
        before = scope.get(run.scope, "conv2d_0.w_0")
        next(steps(run, 1))
        change = scope.get(run.scope, "conv2d_0.w_0") - before
        moved.append(np.abs(change.mean(axis=(1, 2, 3))).max() / np.abs(change).max())
    assert moved[0] > 1e-2 and moved[1] < 1e-5
    assert names(run)[1:4] == ["backward", "extra", "fuse"]
    assert run.programs.passes[2].result == "centralize: the gradients of convolutions have the mean 0"


def test_the_second_pass_of_the_docs_limits_weights_and_leaves_them_trained(tmp_path, monkeypatch):
    (tmp_path / "my_clamp.py").write_text(SOURCES[1])
    monkeypatch.chdir(tmp_path)
    run = prepare_training(config("passes=[{name: my_clamp.Clamp, args: {limit: 0.05}, after: optimize}]"))
    trainable = {each.name for each in run.programs.model.parameters if each.trainable}
    assert {each.name for each in backend().parameters(run.programs.train) if each.trainable} == trainable
    next(steps(run, 1))
    for name in trainable:
        assert np.abs(scope.get(run.scope, name)).max() <= np.float32(0.05)
        assert scope.get(run.scope, name).tobytes() == scope.get(run.scope, f"{name}.ema").tobytes()


@dataclass(frozen=True)
class Leaves(Pass):
    """A pass that leaves the field `field` in a state of its own: what `kind` says."""

    name: ClassVar[str] = "leaves"
    kind: str = ""

    def apply(self, target: TrainProgram) -> None:
        pairs = target.gradients
        with target.appending():
            left = {
                "number": lambda: setattr(target, "loss", 3.0),
                "vector": lambda: setattr(target, "loss", paddle.zeros([3])),
                "double": lambda: setattr(target, "loss", target.loss * 2),
                "none": lambda: setattr(target, "gradients", None),
                "bare": lambda: setattr(target, "gradients", [gradient for _, gradient in pairs]),
                "empty": lambda: setattr(target, "gradients", []),
                "first": lambda: setattr(target, "gradients", pairs[:1]),
                "mean": lambda: setattr(target, "gradients", [(p, g.mean(0, keepdim=True)) for p, g in pairs]),
                "twice": lambda: setattr(target, "gradients", pairs * 2),
            }
            left[self.kind]()


@dataclass(frozen=True)
class Count(Pass):
    """A pass over the complete program."""

    name: ClassVar[str] = "count"
    whole: ClassVar[bool] = True

    def apply(self, target: TrainProgram) -> str:
        return f"{target.ir.size(target.main)} operations"


def test_a_pass_over_the_complete_program_comes_last():
    run = prepare_training(config("passes=[{name: programs.test_extra.Count, after: optimize}]", "runtime.onednn=off"))
    assert names(run)[-1] == "extra"
    assert run.programs.passes[-1].result == f"count: {backend().size(run.programs.train)} operations"


class Nameless(Pass):
    def apply(self, target):
        pass


@pytest.mark.parametrize(
    ("kind", "after", "said"),
    [
        ("number", "forward", "leaves sets the loss to a float: expected a 0-D float32 variable"),
        ("vector", "forward", r"leaves sets the loss to float32 \[3\]: expected a 0-D float32 variable$"),
        ("double", "backward", "leaves changes the loss, which requires after: forward"),
        ("none", "backward", r"gradients: expected a list of pairs \(parameter, gradient\) of variables$"),
        ("bare", "backward", r"gradients: expected a list of pairs \(parameter, gradient\) of variables$"),
        ("empty", "backward", r"gradients: expected one for each of \S+, \S+, \S+ and 5 more, in this order$"),
        ("first", "backward", r"gradients: expected one for each of \S+, \S+, \S+ and 5 more, in this order$"),
        ("twice", "backward", r"gradients: expected one for each of \S+, \S+, \S+ and 5 more, in this order$"),
        ("mean", "backward", r"gradients: that of \S+ is float32 \[1(, \d+)*\], expected float32 \[\d\d(, \d+)*\]$"),
        ("twice", "optimize", "leaves changes gradients, which requires after: backward"),
        ("double", "averages", "leaves changes the loss, which requires after: forward"),
    ],
)
def test_what_a_pass_must_not_leave(kind, after, said):
    entry = f"{{name: programs.test_extra.Leaves, args: {{kind: {kind}}}, after: {after}}}"
    with pytest.raises(ConfigError) as caught:
        prepare_training(config(f"passes=[{entry}]"))
    assert re.search(f"^override passes: passes.0.name: {said}", str(caught.value))


def test_another_loss_after_forward_is_the_one_that_is_trained():
    """Twice the loss moves the weights twice as far, under plain SGD."""
    moved = []
    for passes in ("[]", "[{name: programs.test_extra.Leaves, args: {kind: double}, after: forward}]"):
        run = prepare_training(config("optimizer={name: SGD}", f"passes={passes}"))
        before = scope.get(run.scope, "linear_0.w_0")
        next(steps(run, 1))
        moved.append(scope.get(run.scope, "linear_0.w_0") - before)
    assert np.linalg.norm(moved[1] - 2 * moved[0]) <= 1e-5 * np.linalg.norm(moved[1])


@pytest.mark.parametrize("after", ["forward", "optimize", "averages"])
def test_where_a_pass_comes(after):
    """The average after the first step equals the weight after the optimizer and after a pass before the averages."""
    entry = f"{{name: programs.test_extra.Halve, args: {{what: linear_0.w_0}}, after: {after}}}"
    run = prepare_training(config(f"passes=[{entry}]", "optimizer={name: SGD}", "lr=1e-30"))
    before = scope.get(run.scope, "linear_0.w_0")
    next(steps(run, 1))
    after_it, average = (scope.get(run.scope, name) for name in ("linear_0.w_0", "linear_0.w_0.ema"))
    np.testing.assert_allclose(after_it, before * 0.5, rtol=1e-6)
    np.testing.assert_allclose(average, after_it * (2.0 if after == "averages" else 1.0), rtol=1e-6)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{name: programs.test_extra.Nothing}", "has no 'Nothing'"),
        ("{name: programs.test_extra.names, args: {run: 1}}", "passes.0.args: "),
        ("{name: dict}", "passes.0.name: "),
        ("{name: programs.test_extra.Nameless}", "programs.test_extra.Nameless has no name"),
        ("{name: builtins.dict}", "makes a dict, not a ppema.passes.target.Pass"),
        ("{name: programs.test_extra.failing}", "RuntimeError: out of order"),
        ("{name: programs.test_extra.Halve, args: {which: 1}}", "which"),
    ],
)
def test_what_is_no_pass(entry, said):
    with pytest.raises(ConfigError) as caught:
        prepare_training(config(f"passes=[{entry}]"))
    assert said in str(caught.value) and len(str(caught.value).splitlines()) == 1
