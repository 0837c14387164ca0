"""Builds test programs, which evaluate weights and change no variable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import paddle

from ppema.config import Config
from ppema.data import Field
from ppema.errors import ConfigError
from ppema.ir import Parameter, Program, Variable, backend, draws_random_numbers
from ppema.losses import Weighted, form
from ppema.metrics import build_metrics
from ppema.passes.average import read_shadows
from ppema.passes.onednn import OnednnPass
from ppema.programs.forward import forward
from ppema.programs.inputs import Inputs
from ppema.programs.objective import Objective, measured
from ppema.programs.outputs import operands
from ppema.user_code.blame import building


def is_loss(measure: str) -> bool:
    """Whether the measure of this name is the loss, or a part of it."""
    return measure == "loss" or measure.startswith("loss.")


@dataclass(frozen=True)
class TestProgram:
    """A program that evaluates one set of weights. It reads variables of the scope and changes none.

    measures: the variable to fetch for "loss", each of its parts and each metric: float32 [N]. A loss may also be a scalar, the
    mean over the batch.
    """

    __test__ = False  # pytest would collect a class of this name
    program: Program
    measures: dict[str, Variable]

    def without_loss(self) -> TestProgram:
        """The same program, without the loss and its parts as measures."""
        return replace(self, measures={name: value for name, value in self.measures.items() if not is_loss(name)})


@dataclass(frozen=True)
class Model:
    """A test program for weights under the variables' own names, with its startup program, inputs and parameters.

    structured: variables' names by their place in the model, as in `state_dict` ("0.weight" → "conv2d_0.w_0").
    """

    startup: Program
    test: TestProgram
    inputs: Inputs
    parameters: list[Parameter]
    structured: dict[str, str]

    def without_loss(self) -> Model:
        """The same model, without the loss as a measure."""
        return replace(self, test=self.test.without_loss())


def build_test_model(config: Config, fields: Sequence[Field]) -> Model:
    """Build the test program of a config's model in eval mode, which BatchNorm, dropout and the model's own code follow.

    fields: shape and dtype of a sample's inputs and target. Raises ConfigError, also if the model in eval mode changes a
    variable or draws random numbers.
    """
    startup, main = paddle.static.Program(), paddle.static.Program()
    with backend().fresh_names(), paddle.static.program_guard(main, startup):
        made = forward(config, fields, train=False)
        measures = _losses(made.objective)
        with config.at("metrics"):
            for index, (name, metric) in enumerate(build_metrics(config.metrics).items()):
                spec = config.metrics[index]
                with building(index):
                    predictions, target = operands(spec, made.outputs, made.targets)
                    measures[name] = _each_sample(spec.name, metric(predictions, target))
        structured = {place: value.name for place, value in made.model.state_dict().items()}
    # Eval mode does not reach F.dropout and F.batch_norm, whose default is to train.
    backend().set_test(main)
    for op in backend().operations(main):
        if op.writes or draws_random_numbers(op):
            does = f"changes {op.writes[0]}" if op.writes else "draws random numbers"
            with config.at("model"):
                raise ConfigError.of(
                    f"in eval mode the model still {does} ({op.kind} at {op.source}): check self.training in its forward"
                )
    return Model(
        startup,
        TestProgram(main, measures),
        Inputs(tuple(field.name for field in fields), made.objective.accepts),
        backend().parameters(main),
        structured,
    )


def _losses(objective: Objective) -> dict[str, Variable]:
    """The values per sample of the loss, and of each of its parts by "loss.<name>"."""
    parts = {name: _plain("loss", part) for name, part in objective.parts.items()}
    if "" in parts:
        return {"loss": parts[""]}
    total = sum(value * objective.weights[name] for name, value in parts.items())
    return {"loss": total} | {f"loss.{name}": value for name, value in parts.items()}


def _plain(name: str, value: Variable | Weighted) -> Variable:
    if isinstance(value, Weighted):
        raise ConfigError.of(f"{name} returns weighted values, which evaluations can not measure")
    return value


def _each_sample(name: str, value: Any) -> Variable:
    """Cast the result `value` of the metric `name` to float32 [N].

    Raises ConfigError for one number per batch, such as an F1 score: the mean of such numbers over batches depends on the
    batch size, and is not the metric of the data set.
    """
    value = _plain(name, measured(name, value))
    if list(value.shape) != [-1]:
        raise ConfigError.of(
            f"{name} returns one number for the batch, {form(value)}, and the mean of such numbers depends on "
            "data.eval.batch_size: return one value per sample, of shape [N]"
        )
    return value


def rewired(test: TestProgram, names: Mapping[str, str]) -> TestProgram:
    """A copy of `test` that reads the shadow `names[p]` instead of each parameter p."""
    program, values = backend().clone(test.program, list(test.measures.values()))
    read_shadows(backend(), program, names)
    return TestProgram(program, dict(zip(test.measures, values, strict=True)))


def on_onednn(test: TestProgram) -> TestProgram:
    """A copy of `test` whose convolutions oneDNN computes."""
    program, values = backend().clone(test.program, list(test.measures.values()))
    OnednnPass().place(program, values)
    return TestProgram(program, dict(zip(test.measures, values, strict=True)))
