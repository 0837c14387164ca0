"""Builds the passes of a config's averages. Durations become steps of the run."""

from __future__ import annotations

from collections.abc import Mapping

from ppema.averaging.decay import Constant, Exponential, HalfLife, InverseGamma, PowerFunction, Schedule, ThresSteps
from ppema.averaging.power import gamma_of
from ppema.averaging.rule import Rule
from ppema.config import AverageSpec
from ppema.config.horizon import Horizon
from ppema.errors import ConfigError
from ppema.passes.ema import EmaPass
from ppema.passes.select import Selection
from ppema.passes.switch import SwitchPass
from ppema.passes.target import Pass
from ppema.ranks import ONE, Ranks
from ppema.user_code.blame import building


def average_passes(
    specs: Mapping[str, AverageSpec], horizon: Horizon, places: Mapping[str, str], ranks: Ranks = ONE
) -> tuple[list[Pass], list[Pass]]:
    """The passes that add the averages `specs` to a train program, and those that overwrite the weights by them.

    places: for each variable's name its place in the model; ranks: those that train. Raises ConfigError for an average or an
    overwriting that would start after the end of the run.
    """
    added: list[Pass] = []
    switches: list[Pass] = []
    for name, spec in specs.items():
        with building(name):
            rule = rule_of(spec, horizon)
        selection = Selection(spec.include, spec.exclude, spec.batch_norm)
        added.append(EmaPass(name, rule, selection, places, ranks if spec.sharded else ONE))
        if spec.overwrite_every is not None:
            with building(name, "overwrite_every"):
                switch = SwitchPass(name, horizon.steps(spec.overwrite_every), spec.overwrite_mix)
                first = switch.first(rule)
                if first > horizon.total_steps:
                    raise ConfigError.of(
                        f"the first would come after step {first}, but the run ends after {horizon.total_steps}"
                    )
            switches.append(switch)
    return added, switches


def rule_of(spec: AverageSpec, horizon: Horizon) -> Rule:
    """The rule of a config's average, in steps of this run.

    Raises ConfigError if it would start after the end of the run, or if `reference_batch` differs from the batch too much.
    """
    scale = horizon.batch_size / spec.reference_batch if spec.reference_batch else 1.0
    if not 1e-6 <= scale <= 1e6:
        raise ConfigError.of(
            f"the training batch is {scale:.6g} times reference_batch: expected a ratio from 1e-6 to 1e6", "reference_batch"
        )
    rule = Rule(
        _schedule(spec, horizon),
        start=horizon.steps(spec.start) if spec.start is not None else 0,
        update_every=spec.update_every,
        scale=scale,
        bias_correction=spec.bias_correction,
        precision=spec.precision,
    )
    if rule.first > horizon.total_steps:
        raise ConfigError.of(f"it would begin after step {rule.first}, and the run ends after step {horizon.total_steps}")
    return rule


def _schedule(spec: AverageSpec, horizon: Horizon) -> Schedule:
    if spec.half_life is not None:
        return HalfLife(horizon.exact_steps(spec.half_life), spec.ramp)
    if spec.sigma_rel is not None:
        return PowerFunction(gamma_of(spec.sigma_rel))
    if spec.decay is None:
        return PowerFunction()
    if spec.warmup is not None:
        return InverseGamma(spec.decay, spec.warmup.gamma, spec.warmup.power, spec.warmup.min)
    if spec.tau is not None:
        return Exponential(spec.decay, spec.tau)
    return ThresSteps(spec.decay) if spec.thres_steps else Constant(spec.decay)
