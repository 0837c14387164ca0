"""The BatchNorm statistics that training a config's model updates."""

from __future__ import annotations

from collections.abc import Sequence

import paddle

from ppema.config import Config
from ppema.data import Field
from ppema.ir import backend
from ppema.passes.groups import GroupsPass
from ppema.passes.recalibrate import moving_statistics
from ppema.passes.target import TrainProgram
from ppema.programs.eval_program import Model
from ppema.programs.model.forward import forward
from ppema.programs.treatments import treatments_of


def train_statistics(config: Config, fields: Sequence[Field], model: Model, waiting: frozenset[str] = frozenset()) -> set[str]:
    """The names of these statistics; frozen ones are not among them. Raises ConfigError.

    model: has the same variables. waiting: variables that are frozen at the step in question.
    """
    target = TrainProgram(paddle.static.Program(), paddle.static.Program())
    with backend().fresh_names(), paddle.static.program_guard(target.main, target.startup):
        forward(config, fields, train=True)
    GroupsPass(treatments_of(config, model), waiting).apply(target)
    return moving_statistics(target.main)
