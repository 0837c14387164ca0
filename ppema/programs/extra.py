"""Adds the user's own passes, which a config names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import is_
from typing import Any, ClassVar

from ppema.config import Config
from ppema.errors import ConfigError, listed
from ppema.ir import Gradient, dtype_name, is_variable
from ppema.passes.target import Pass, TrainProgram
from ppema.user_code.blame import building
from ppema.user_code.names import check_arguments, resolve

# For each value of the key `after`: the names of the passes after which the user's pass comes.
_BEFORE = {
    "forward": ("forward",),
    "backward": ("backward", "unscale"),
    "optimize": ("optimize",),
    "averages": ("optimize", "average", "update averages"),
}


@dataclass(frozen=True)
class ExtraPass(Pass):
    """A pass of the user's own. index: its entry in the config's `passes`; after: the value of that key; own: the pass."""

    name: ClassVar[str] = "extra"
    index: int
    after: str
    own: Pass

    def apply(self, target: TrainProgram) -> str:
        """Raises ConfigError if the pass leaves a loss or gradients that later passes can not use, or that come too late."""
        loss, gradients = target.loss, list(target.gradients)
        made = self.own.apply(target)
        if target.loss is not loss:
            self._check_loss(target.loss)
        if self.after == "backward":
            _check_gradients(gradients, target.gradients)
        elif not _same(gradients, target.gradients):
            raise ConfigError.of(f"{self.own.name} changes gradients, which requires after: backward")
        return self.own.name if made is None else f"{self.own.name}: {made}"

    def _check_loss(self, loss: Any) -> None:
        if self.after != "forward":
            raise ConfigError.of(f"{self.own.name} changes the loss, which requires after: forward")
        if not is_variable(loss) or list(loss.shape) != [] or dtype_name(loss) != "float32":
            raise ConfigError.of(f"{self.own.name} sets the loss to {_form(loss)}: expected a 0-D float32 variable")


@dataclass(frozen=True)
class WholeExtraPass(ExtraPass):
    """One that needs the complete program, outside of any gate."""

    whole: ClassVar[bool] = True


def _same(before: list[Any], after: Any) -> bool:
    return isinstance(after, list) and len(after) == len(before) and all(map(is_, after, before))


def _check_gradients(before: list[Gradient], after: Any) -> None:
    """Check that `after` is a list of (parameter, gradient) as `before`: same parameters, shapes and types."""
    pairs = isinstance(after, list) and all(isinstance(each, tuple) and len(each) == 2 for each in after)
    if not pairs or not all(is_variable(value) for pair in after for value in pair):
        raise ConfigError.of("gradients: expected a list of pairs (parameter, gradient) of variables")
    wanted = [parameter.name for parameter, _ in before]
    if [parameter.name for parameter, _ in after] != wanted:
        raise ConfigError.of(f"gradients: expected one for each of {listed(wanted)}, in this order")
    for (parameter, old), (_, new) in zip(before, after, strict=True):
        if _form(old) != _form(new):
            raise ConfigError.of(f"gradients: that of {parameter.name} is {_form(new)}, expected {_form(old)}")


def _form(value: Any) -> str:
    return f"{dtype_name(value)} {list(value.shape)}" if is_variable(value) else f"a {type(value).__name__}"


def with_extra(config: Config, passes: Sequence[Pass]) -> list[Pass]:
    """`passes` and the config's own passes. Each of these follows the last pass that its `after` names. Raises ConfigError."""
    extra = [_build(config, index) for index in range(len(config.passes))]
    last = {after: max(i for i, each in enumerate(passes) if each.name in names) for after, names in _BEFORE.items()}
    found: list[Pass] = []
    for index, each in enumerate(passes):
        found += [each, *(own for own in extra if last[own.after] == index)]
    return found


def _build(config: Config, index: int) -> ExtraPass:
    spec = config.passes[index]
    with config.at("passes", index):
        kind = resolve(spec.name, {}, "pass")
        check_arguments(kind, spec.args, what=spec.name)
        with building("args"):
            own = kind(**spec.args)
        if not isinstance(own, Pass):
            raise ConfigError.of(f"{spec.name} makes a {type(own).__name__}, not a ppema.passes.target.Pass", "name")
        if not isinstance(getattr(own, "name", None), str):
            raise ConfigError.of(f"{spec.name} has no name: give the class `name: ClassVar[str] = ...`", "name")
    return (WholeExtraPass if own.whole else ExtraPass)(index, spec.after, own)
