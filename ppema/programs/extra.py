"""Adds the user's own passes, which a config names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ppema.config import Config
from ppema.errors import ConfigError
from ppema.passes.target import Pass, TrainProgram
from ppema.programs.forward import building
from ppema.user_code.names import check_arguments, resolve

# For each value of the key `after`: the names of the passes after which the user's pass comes.
_BEFORE = {
    "forward": ("forward",),
    "backward": ("backward",),
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
        made = self.own.apply(target)
        return self.own.name if made is None else f"{self.own.name}: {made}"


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
    return ExtraPass(index, spec.after, own)
