"""Builds test programs, which evaluate weights and change no variable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import paddle

from ppema.config import Config
from ppema.data import Field
from ppema.errors import ConfigError
from ppema.ir import Parameter, Program, Variable, backend, draws_random_numbers
from ppema.losses import per_sample
from ppema.metrics import build_metrics
from ppema.passes.average import read_shadows
from ppema.passes.onednn import OnednnPass
from ppema.programs.forward import building, class_count, each_sample, forward
from ppema.programs.inputs import Inputs


@dataclass(frozen=True)
class TestProgram:
    """A program that evaluates one set of weights. It reads variables of the scope and changes none.

    measures: the variable to fetch for "loss" and for each metric: float32 [N]. The loss may also be a scalar, the mean over
    the batch.
    """

    __test__ = False  # pytest would collect a class of this name
    program: Program
    measures: dict[str, Variable]

    def without_loss(self) -> TestProgram:
        """The same program, without the loss as a measure."""
        return replace(self, measures={name: value for name, value in self.measures.items() if name != "loss"})


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

    fields: of a sample. Raises ConfigError, also if the model in eval mode changes a
    variable or draws random numbers.
    """
    startup, main = paddle.static.Program(), paddle.static.Program()
    with backend().fresh_names(), paddle.static.program_guard(main, startup):
        model, feeds, predictions, loss = forward(config, fields, train=False)
        with config.at("metrics"):
            metrics = build_metrics(config.metrics)
            measures = {"loss": per_sample(loss)}
            for index, (name, metric) in enumerate(metrics.items()):
                with building(index):
                    measures[name] = each_sample(config.metrics[index].name, metric(predictions, feeds[-1]))
        count = class_count(config.loss.name, predictions, feeds[-1])
        classes = {} if count is None else {fields[-1].name: count}
        structured = {place: value.name for place, value in model.state_dict().items()}
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
        Inputs(tuple(field.name for field in fields), classes),
        backend().parameters(main),
        structured,
    )


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
