"""Builds a config's model in a program: for training and evaluation with its loss, for prediction without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import paddle

from ppema.config import Config
from ppema.data import Field
from ppema.data.pictures.preprocessing import Preprocessing
from ppema.errors import ConfigError
from ppema.ir import Variable
from ppema.losses import form
from ppema.models import MODELS
from ppema.programs.model.mixed_precision import casts, in_float32
from ppema.programs.model.mixing import Mixing
from ppema.programs.model.normalization import normalised
from ppema.programs.model.objective import Objective, objective
from ppema.programs.model.outputs import call, outputs_of
from ppema.programs.model.picture_input import pictures
from ppema.user_code.blame import building
from ppema.user_code.names import check_arguments, resolve


@dataclass(frozen=True)
class ModelInProgram:
    """A model in a program. inputs: by name, as the model receives them; outputs: by name."""

    model: Any
    inputs: dict[str, Variable]
    outputs: dict[str, Variable]


@dataclass(frozen=True)
class Forward(ModelInProgram):
    """A model in a program, with its objective. targets: by name, [N, ...]; objective: the loss and its parts."""

    targets: dict[str, Variable]
    objective: Objective

    def counts(self) -> Variable:
        """Append what the batch counts among others, 0-D float32: the sum of the loss's weights, else the number of samples."""
        weights = self.objective.weight_sum()
        return paddle.cast(paddle.shape(next(iter(self.inputs.values())))[0], "float32") if weights is None else weights


def forward(config: Config, fields: Sequence[Field], *, train: bool, precision: str = "float32") -> Forward:
    """Build a config's model and its loss in the default main program, in train or eval mode. Raises ConfigError.

    fields: of a sample; each is an input of the program, of its name. In train mode, a section `mix` mixes inputs and losses.
    precision: type in which convolutions and matrix products compute. Outputs of a half type are cast to float32.
    """
    mixing = Mixing.of(config, fields) if train else None
    with config.at("model"):
        model = _build_model(config.model)
        model.train() if train else model.eval()
        feeds = _feeds(fields)
        inputs = {field.name: feeds[field.name] for field in fields if not field.is_target}
        inputs = normalised(config, fields, inputs)
        targets = {field.name: feeds[field.name] for field in fields if field.is_target}
        partners = {}
        if mixing is not None:
            inputs, partners = mixing.batch(inputs, targets)
        outputs = _outputs(config, model, inputs, precision)
    aim = objective(config, outputs, targets)
    if mixing is not None:
        aim = mixing.objective(config, aim, objective(config, outputs, partners))
    return Forward(model, inputs, outputs, targets, aim)


def applied(config: Config, fields: Sequence[Field], preparation: Preprocessing | None = None) -> ModelInProgram:
    """Build a config's model in the default main program, in eval mode, without targets and losses. Raises ConfigError.

    fields: the inputs of a sample. preparation: of pictures; the program then takes their bytes, as `pictures` describes.
    """
    feeds = _feeds(fields) if preparation is None else {preparation.input: pictures(config, preparation)}
    with config.at("model"):
        model = _build_model(config.model)
        model.eval()
        inputs = normalised(config, fields, feeds)
        return ModelInProgram(model, inputs, _outputs(config, model, inputs, "float32"))


def _feeds(fields: Sequence[Field]) -> dict[str, Variable]:
    return {field.name: paddle.static.data(field.name, [-1, *field.shape], getattr(paddle, field.dtype)) for field in fields}


def _outputs(config: Config, model: Any, inputs: Mapping[str, Variable], precision: str) -> dict[str, Variable]:
    about = f"the model can not take the data's {', '.join(map(form, inputs.values()))}"
    with building(about=about), casts(paddle.static.default_main_program(), precision):
        returned = call(model, inputs, named=config.data.inputs is not None)
    outputs = outputs_of(returned)
    return outputs if precision == "float32" else {name: in_float32(output) for name, output in outputs.items()}


def _build_model(spec: Any) -> Any:
    target = resolve(spec.name, MODELS, "model")
    check_arguments(target, spec.args, what=spec.name)
    with building("args"):
        model = target(**spec.args)
    if not isinstance(model, paddle.nn.Layer):
        raise ConfigError.of(f"{spec.name} returns a {type(model).__name__}, not a paddle.nn.Layer", "name")
    return model
