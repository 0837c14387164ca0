"""The passes of a training step that need the config's model and optimizer: forward, backward, optimize."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import paddle

from ppema.config import Config
from ppema.data import Field
from ppema.errors import ConfigError, listed
from ppema.ir import Parameter, dtype_name
from ppema.optimizers.optimizer import check_trains
from ppema.passes.target import Pass, TrainProgram
from ppema.programs.eval_program import Model
from ppema.programs.model.forward import forward
from ppema.programs.model.mixed_precision import computed
from ppema.programs.model.objective import refuse_sums


@dataclass(frozen=True)
class ForwardPass(Pass):
    """Build the config's model in train mode, and the mean of its loss over the batch.

    fields: of a sample; model: the model in eval mode, which must have the same variables; ranks: the number of processes that
    train.
    """

    name: ClassVar[str] = "forward"
    config: Config
    fields: Sequence[Field]
    model: Model
    ranks: int = 1

    def apply(self, target: TrainProgram) -> str:
        """Set `target.loss`, and `target.weight` if parts of a step are added up by it. Raises ConfigError."""
        precision = self.config.runtime.precision
        with paddle.static.program_guard(target.main, target.startup):
            made = forward(self.config, self.fields, train=True, precision=precision)
            target.ir.freeze_marked(target.main)
            target.loss, target.parts = made.objective.total()
            target.weighted = made.objective.weighted
            accumulates, shared = self.config.train.accumulate > 1, self.ranks > 1
            if accumulates or shared:
                refuse_sums(self.config)
            if accumulates or (shared and target.weighted):
                with self.config.at("losses" if self.config.losses else "loss"):
                    target.weight = made.counts()
        _check_same_variables(self.config, target.parameters, self.model.parameters)
        trainable = sum(parameter.trainable for parameter in self.model.parameters)
        result = f"{len(self.model.parameters)} variables, {trainable} of them trainable"
        if precision == "float32":
            return result
        with self.config.at("runtime"):
            return f"{result}; {computed(target.main, precision)}"


@dataclass(frozen=True)
class BackwardPass(Pass):
    """Append the gradients of the loss by all trainable parameters, and prepare the optimizer's state.

    Requires `target.loss`. places: for each variable's name its place in the model.
    """

    name: ClassVar[str] = "backward"
    optimizer: Any
    places: Mapping[str, str] = field(default_factory=dict)

    def apply(self, target: TrainProgram) -> str:
        """Set `target.gradients` and `target.minimize`. Warns about trainable parameters without a gradient.

        Raises ConfigError if the loss depends on no trainable parameter, and if the optimizer can not train one's type.
        """
        trainable = [parameter.name for parameter in target.parameters if parameter.trainable]
        with paddle.static.program_guard(target.main, target.startup):
            loss = target.loss if target.scaled is None else target.scaled
            target.gradients = [pair for pair in self.optimizer.backward(loss) if pair[1] is not None]
            if not target.gradients:
                raise ConfigError.of("there is nothing to train: the loss depends on no trainable parameter of the model")
            types = {self.places.get(each.name, each.name): dtype_name(each) for each, _ in target.gradients}
            check_trains(self.optimizer, types)
            target.minimize = target.ir.update_of(target.main, self.optimizer, target.gradients)
        reached = {each.name for each, _ in target.gradients}
        unreached = [self.places.get(name, name) for name in trainable if name not in reached]
        if not unreached:
            return f"{len(target.gradients)} gradients"
        if not target.waiting:
            warnings.warn(
                f"the loss does not depend on {listed(unreached)}: no step changes these variables. Use them in a loss, or "
                "freeze them by groups",
                stacklevel=2,
            )
        return f"{len(target.gradients)} gradients, none of {listed(unreached)}"


@dataclass(frozen=True)
class OptimizePass(Pass):
    """Append the optimizer's update by the gradients, with clipping. Requires `target.minimize`.

    clip_value: the largest absolute value of a gradient's numbers. None: no limit. Paddle 3 has no static ClipGradByValue.
    """

    name: ClassVar[str] = "optimize"
    optimizer: Any
    clip_value: float | None = None

    def apply(self, target: TrainProgram) -> str:
        assert target.minimize is not None, "BackwardPass comes first"
        with target.appending():
            gradients = target.gradients
            if self.clip_value is not None:
                gradients = [(each, paddle.clip(value, -self.clip_value, self.clip_value)) for each, value in gradients]
            target.minimize(gradients)
        if (fusion := target.fusion) is not None:
            fusion.updates = target.ir.take_updates(target.main, [each.name for each, _ in gradients])
            assert fusion.updates or not fusion.gated, "FusePass knows the optimizer's operations"
        return type(self.optimizer).__name__


def _check_same_variables(config: Config, train: Sequence[Parameter], test: Sequence[Parameter]) -> None:
    """Raises ConfigError if the model's constructor made other variables: the test program would then read wrong weights."""
    forms = [{parameter.name: (parameter.shape, parameter.dtype) for parameter in side} for side in (train, test)]
    if forms[0] != forms[1]:
        differing = sorted(name for name in {**forms[0], **forms[1]} if forms[0].get(name) != forms[1].get(name))
        with config.at("model"):
            raise ConfigError.of(
                f"built twice, for training and for evaluation, the model differs in {listed(differing)}: its constructor and "
                "forward must not depend on chance or on train() and eval()"
            )
