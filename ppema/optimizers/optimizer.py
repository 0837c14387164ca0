"""Optimizers and learning-rate schedules by name. Arguments are checked before Paddle's constructors are called."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Mapping
from copy import deepcopy
from typing import Any

import paddle

from ppema.averaging.precision import FLOAT32
from ppema.config import Config, Duration
from ppema.errors import ConfigError, listed
from ppema.optimizers.schedules import LRScheduler, ReduceOnPlateau, Warmup, in_steps
from ppema.user_code.blame import blamed
from ppema.user_code.names import check_arguments, resolve

LONGEST_REHEARSAL = 10_000

OPTIMIZERS = {
    name: value
    for name, value in vars(paddle.optimizer).items()
    if inspect.isclass(value) and issubclass(value, paddle.optimizer.Optimizer)
    # LBFGS calls the model several times per step, which a static program cannot do. Rprop takes no schedule.
    if name not in ("Optimizer", "LBFGS", "Rprop")
}
# Arguments of optimizers that exclude variables from a decoupled weight decay, and how to make one from the variables' names.
DECAY_FILTERS: dict[str, Callable[[Collection[str]], Callable[[Any], bool]]] = {
    "apply_decay_param_fun": lambda undecayed: lambda name: name not in undecayed,
    "exclude_from_weight_decay_fn": lambda undecayed: lambda parameter: parameter.name in undecayed,
}
_CLIPS = {
    "clip_norm": paddle.nn.ClipGradByGlobalNorm,
    "clip_each_norm": paddle.nn.ClipGradByNorm,
}
# A program's learning rate is float32. The kernels of these two cast it to the type of a variable, those of all others do not.
_ANY_TYPE = ("SGD", "ASGD")
SCHEDULERS = {
    name: value
    for name, value in vars(paddle.optimizer.lr).items()
    if inspect.isclass(value) and issubclass(value, LRScheduler) and value is not LRScheduler
}


def build_lr(spec: Any, to_steps: Callable[[Duration], int], total_steps: int) -> LRScheduler:
    """The learning-rate schedule of a config's `lr` section. One `step()` is one optimizer step.

    spec: name, args and warmup. to_steps: converts durations among the args ("20 epochs") to steps.
    The schedule starts with the run. A warm-up multiplies its first rates by a factor that rises from 0 to 1. The schedule is
    rehearsed over the run's `total_steps`, so an invalid rate or an early end is found before the run begins.

    Raises ConfigError for an unknown name, a wrong argument, a failed rehearsal, or a warm-up that the schedule does not allow.
    """
    found = resolve(spec.name, {"constant": _constant, **SCHEDULERS}, "learning-rate schedule")
    check_arguments(found, spec.args, what=spec.name)
    schedule = _call(found, in_steps(found, spec.args, to_steps))
    if not isinstance(schedule, LRScheduler):
        raise ConfigError.of(f"{spec.name} is not a paddle.optimizer.lr.LRScheduler", "name")
    peak = rehearse(schedule, total_steps)
    if 0 < peak < FLOAT32[0]:
        raise ConfigError.of(f"the learning rate is at most {peak:g}, which is 0 in float32", "args")
    if spec.warmup is None:
        return schedule
    if isinstance(schedule, ReduceOnPlateau):
        raise ConfigError.of("ReduceOnPlateau takes no warm-up: evaluations decide about its rate; leave warmup out", "warmup")
    if not schedule() > 0:
        raise ConfigError.of(f"{spec.name} begins at a rate of {schedule():g}: it needs no other warm-up", "warmup")
    return Warmup(schedule, to_steps(spec.warmup))


def optimizer_of(name: str) -> Callable[..., Any]:
    """The optimizer class of a config's `optimizer.name`. Raises ConfigError for an unknown name."""
    return resolve(name, OPTIMIZERS, "optimizer")


def build_optimizer(spec: Any, lr: LRScheduler, undecayed: Collection[str] = ()) -> Any:
    """The optimizer of a config's `optimizer` section: name, args, weight_decay, clipping.

    undecayed: names of the variables without weight decay, for optimizers that decouple it from the gradient.
    Raises ConfigError for an unknown name, and for a wrong or unsupported argument.
    """
    found = optimizer_of(spec.name)
    given: dict[str, Any] = {"learning_rate": lr}
    parameters = inspect.signature(found).parameters
    given |= {key: chooses(undecayed) for key, chooses in DECAY_FILTERS.items() if undecayed and key in parameters}
    if spec.weight_decay is not None:
        if "weight_decay" not in parameters:
            raise ConfigError.of(f"{spec.name} takes no weight_decay", "weight_decay")
        given["weight_decay"] = float(spec.weight_decay)
    for key in _CLIPS.keys() & spec.clips:
        given["grad_clip"] = _CLIPS[key](getattr(spec, key))
    check_arguments(found, spec.args, given=(*given, "parameters"), what=spec.name)
    optimizer = _call(found, {**given, **spec.args})
    if not isinstance(optimizer, paddle.optimizer.Optimizer):
        raise ConfigError.of(f"{spec.name} is not a paddle.optimizer.Optimizer", "name")
    return optimizer


def check_trains(optimizer: Any, types: Mapping[str, str]) -> None:
    """Raise ConfigError if Paddle's kernels of `optimizer` can not update variables of these types, by name in the message."""
    wide = [name for name, dtype in types.items() if dtype == "float64"]
    if wide and isinstance(optimizer, tuple(found for name, found in OPTIMIZERS.items() if name not in _ANY_TYPE)):
        raise ConfigError.of(
            f"{type(optimizer).__name__} can not train {listed(wide)}, of type float64, since the learning rate is float32: "
            "use SGD, or float32 weights, or freeze them by groups"
        )


def advance(schedule: LRScheduler, config: Config, *measured: Any) -> None:
    """Step `schedule`, the one of `config`, to its next rate. measured: the loss, for a ReduceOnPlateau.

    Raises ConfigError if the schedule's code fails.
    """
    try:
        schedule.step(*measured)
    except (Exception, SystemExit) as error:
        # Entered on failure only: at every step it would take a twentieth of a small model's time.
        with config.at("lr"):
            raise ConfigError.of(f"the schedule fails within the run: {blamed(error)}") from error


def lr_state(schedule: LRScheduler) -> dict[str, Any]:
    """All numbers of a schedule by attribute, and the state of a schedule inside it.

    `state_dict` is not enough, since it omits some numbers, such as those of restarts. Numbers that JSON lacks, such as the
    best loss of a ReduceOnPlateau, become "nan", "inf" and "-inf".
    """
    state = {}
    for name, value in vars(schedule).items():
        if isinstance(value, LRScheduler):
            state[name] = lr_state(value)
        elif isinstance(value, float) and not math.isfinite(value):
            state[name] = str(float(value))
        elif value is None or isinstance(value, (bool, int, float)):
            state[name] = value
    return state


def set_lr_state(schedule: LRScheduler, state: Mapping[str, Any]) -> None:
    """Restore the state that `lr_state` returned. Raises ValueError for the state of another kind of schedule."""
    own = lr_state(schedule)
    if own.keys() != state.keys():
        raise ValueError(f"it holds {', '.join(state)}, not {', '.join(own)}")
    for name, value in state.items():
        if isinstance(own[name], dict):
            set_lr_state(getattr(schedule, name), value)
        elif isinstance(value, (bool, int, float)) or (value is None and own[name] is None):
            setattr(schedule, name, value)
        elif value in ("nan", "inf", "-inf"):
            setattr(schedule, name, float(value))
        else:
            raise ValueError(f"{name}: expected a number, got {value!r}")


def _constant(learning_rate: float) -> LRScheduler:
    """A constant rate as a schedule, so that all runs save and restore the same kind of state."""
    return paddle.optimizer.lr.LambdaDecay(float(learning_rate), _always_one)


def rehearse(schedule: LRScheduler, steps: int) -> float:
    """Step a copy of `schedule` through `steps` steps, at most LONGEST_REHEARSAL, and return the largest rate.

    Raises ConfigError if a rate is not a float32 number >= 0, and if the schedule's code fails.
    """
    try:
        copy, peak = deepcopy(schedule), 0.0
        for step in range(min(steps, LONGEST_REHEARSAL)):
            rate = float(copy())
            if not 0 <= rate <= FLOAT32[1]:
                raise ConfigError.of(f"the learning rate is {rate:g} at step {step}", "args")
            peak = max(peak, rate)
            if isinstance(copy, ReduceOnPlateau):
                copy.step(1.0)
            elif step + 1 < steps:
                # No rate is needed after the last step, and OneCycleLR would refuse to step.
                copy.step()
        return peak
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError.of(f"the schedule fails within the run: {blamed(error)}", "args") from error


def _always_one(step: int) -> float:
    return 1.0


def _call(target: Callable[..., Any], args: Mapping[str, Any]) -> Any:
    try:
        return target(**args)
    except (Exception, SystemExit) as error:
        raise ConfigError.of(blamed(error), "args") from error
