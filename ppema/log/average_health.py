"""Measures the health of a run's averages in its scope: figures for the log, and warnings for people."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ppema.averaging.decay import step_size, weight_after
from ppema.averaging.health import Reading, Tally, layer_groups, tally, window
from ppema.averaging.shards import Piece
from ppema.distributed.world import ALONE, World
from ppema.ir import scope
from ppema.passes.select import chosen
from ppema.programs.build import Programs

# An average has stopped if float32 rounds the update of more than this share of its numbers to nothing.
_STOPPED = 0.5
# The tolerated relative error of a window that grows with the run, such as a simple average's: 1 - d is rounded.
_ROUNDING = 1e-6


@dataclass
class _Seen:
    """An average after `step`.

    groups: its tallies by layer group; weights, shadows: checksums of its weights, and of the shadows that this rank holds, in
    the model's order; moved: whether any shadow, on any rank, differs from the measurement before.
    """

    step: int
    groups: dict[str, Tally] = field(default_factory=dict)
    weights: list[int] = field(default_factory=list)
    shadows: list[int] = field(default_factory=list)
    moved: bool = True

    @property
    def total(self) -> Tally:
        return sum(self.groups.values(), Tally())


class Health:
    """Measures the averages of a run, each over the trained parameters that it covers. It changes no variable.

    BatchNorm's statistics are omitted: their scale differs, and they move even if the weights do not. Ranks that share an
    average add up what they measure of their parts, so that all of them have the figures of the whole.
    """

    def __init__(self, programs: Programs, where: Any, step: int, world: World = ALONE):
        """where: the scope of `programs`; step: the step of the first measurement, with which later ones are compared.

        world: the ranks, all of which measure at the same steps.
        """
        self._scope, self._world = where, world
        self._shared = [name for name, average in programs.averages.items() if average.sharding is not None]
        self._rules = {name: average.rule for name, average in programs.averages.items()}
        self._weights = {name: average.weight for name, average in programs.averages.items()}
        self._covered = _covered(programs)
        self._warned: set[tuple[str, str]] = set()
        self._now = {name: _Seen(step) for name in self._rules}
        self.measure(step)

    def measure(self, step: int) -> dict[str, Reading]:
        """Measure every average after `step`. Returns a Reading for each name.

        Each variable is read once. At most one variable and one of its averages are in memory at a time. Raises PeerError.
        """
        alphas = {name: self._lossy_alpha(name, step) for name in self._rules}
        self._before, self._now = self._now, {name: _Seen(step) for name in self._rules}
        for variable, averages in self._covered.items():
            theta = scope.get(self._scope, variable)
            checksum = _checksum(theta)
            for name, held in averages.items():
                seen = self._now[name]
                seen.weights.append(checksum)
                seen.groups.setdefault(held.group, Tally())
                if held.piece is not None and not held.piece.size:
                    continue
                shadow = scope.get(self._scope, held.shadow)
                seen.groups[held.group] += tally(theta if held.piece is None else held.piece.of(theta), shadow, alphas[name])
                seen.shadows.append(_checksum(shadow))
                if held.rest is not None:
                    # A slow average moves first in the lost parts that it keeps.
                    seen.shadows.append(_checksum(scope.get(self._scope, held.rest)))
        for name, seen in self._now.items():
            seen.moved = seen.shadows != self._before[name].shadows
        self._add_up()
        return {name: self._reading(name) for name in self._rules}

    def stopped(self) -> list[str]:
        """New warnings about averages that did not move before the last measurement, although the weights did."""
        found = {}
        for name, rule in self._rules.items():
            before, now = self._before[name], self._now[name]
            updated = now.step // rule.update_every > before.step // rule.update_every
            if now.weights == before.weights:
                continue
            if now.total.stalled > _STOPPED:
                lost = f"float32 rounds {100 * now.total.stalled:.0f} % of its updates away"
                decay = f"decay {rule.decay_at(now.step):.10g}"
                found[name] = f"{lost} ({decay}); use precision: compensated, or a shorter average"
            elif updated and not now.moved:
                why = f"none of its numbers changed in the last {now.step - before.step} steps, though the weights did"
                found[name] = f"{why}; look for bad values in it, or use a shorter average"
        return self._fresh("stopped", {name: f"has stopped moving: {why}" for name, why in found.items()})

    def too_long(self, step: int) -> list[str]:
        """New warnings about averages whose window is longer than their number of steps, from their first one to `step`."""
        found = {}
        for name, rule in self._rules.items():
            every, decay = rule.update_every, rule.decay_at(step)
            done = step // every * every - rule.first + every
            full = window(every, 1.0, decay)
            if done <= 0 or full <= done * (1 + _ROUNDING):
                continue
            if window(every, self._total_weight(name), decay) <= done * (1 + _ROUNDING):
                so = "it is still nearly the mean of all weights since it began"
            else:
                so = "its initial value outweighs all later weights"
            found[name] = f"has a window of {full:.6g} steps, of which {done} are done: {so}; train longer, or shorten it"
        return self._fresh("too long", found)

    def _fresh(self, reason: str, found: dict[str, str]) -> list[str]:
        """The warnings of `found`, by average, that were not given for the same reason before."""
        fresh = [f"the average {name!r} {text}" for name, text in found.items() if (name, reason) not in self._warned]
        self._warned |= {(name, reason) for name in found}
        return fresh

    def _add_up(self) -> None:
        """Add up the measurements of the averages that ranks share."""
        if not self._shared:
            return
        every = [self._now[name] for name in self._shared]
        groups = [(seen, group) for seen in every for group in seen.groups]  # the same on all ranks
        tallies = [seen.groups[group] for seen, group in groups]
        numbers = [number for each in tallies for number in (each.difference, each.norm, each.differing, each.kept)]
        self._world.meet("the health of averages")
        found = self._world.sum(np.array([*numbers, *(seen.moved for seen in every)], np.float64)).tolist()
        for place, (seen, group) in enumerate(groups):
            difference, norm, differing, kept = found[4 * place : 4 * place + 4]
            seen.groups[group] = Tally(difference, norm, int(differing), int(kept))
        for seen, moved in zip(every, found[4 * len(groups) :], strict=True):
            seen.moved = moved > 0

    def _reading(self, name: str) -> Reading:
        rule, seen = self._rules[name], self._now[name]
        decay, total = rule.decay_at(seen.step), seen.total
        begun = seen.step >= rule.first
        return Reading(
            decay=decay,
            window=window(rule.update_every, self._total_weight(name), decay) if begun else None,
            distance=total.distance,
            stalled=total.stalled,
            groups={group: each.distance for group, each in seen.groups.items()},
        )

    def _lossy_alpha(self, name: str, step: int) -> float | None:
        """α of the first update after `step`. Before the average starts, an update copies the weights: α = 1.

        None for a compensated average, which loses no part of an update. NaN if the total weight stays 0.
        """
        rule = self._rules[name]
        if rule.precision == "compensated":
            return None
        decay = rule.decay_at(step + rule.update_every)
        weight = weight_after(self._total_weight(name), decay) if rule.bias_correction else 1.0
        return step_size(weight, decay) if weight else math.nan

    def _total_weight(self, name: str) -> float:
        """W_t, the total weight of all updates so far."""
        return float(scope.get(self._scope, self._weights[name]))


@dataclass(frozen=True)
class _Held:
    """The variables in which an average keeps one parameter, by name.

    shadow: the average; rest: the part lost by rounding, None if it is not kept; group: the parameter's layer group; piece: of
    the parameter, which this rank averages, maybe an empty one; None: it is averaged whole.
    """

    shadow: str
    rest: str | None
    group: str
    piece: Piece | None


def _covered(programs: Programs) -> dict[str, dict[str, _Held]]:
    """For each averaged variable a `_Held` by average, in the model's order.

    The variables are the trained parameters; a half-precision parameter with a master weight is replaced by that.
    """
    place_of = {name: place for place, name in programs.model.structured.items()}
    order = {name: index for index, name in enumerate(place_of)}
    covered: dict[str, dict[str, _Held]] = {}
    for key, average in programs.averages.items():
        names = [parameter.name for parameter in chosen(average.choices, "average") if parameter.trainable]
        names.sort(key=lambda name: order.get(name, len(order)))
        groups = layer_groups([place_of.get(name, name) for name in names])
        for name in names:
            piece = None if average.sharding is None else average.sharding.own.get(name, Piece(0, 0))
            held = _Held(average.shadow_of[name], average.rest_of.get(name), groups[place_of.get(name, name)], piece)
            covered.setdefault(average.master_of.get(name, name), {})[key] = held
    return covered


def _checksum(array: np.ndarray) -> int:
    return zlib.crc32(array.reshape(-1).view(np.uint8).data)
