"""Programs that evaluate weights, and change none."""

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
from ppema.passes.recalibrate import moving_statistics
from ppema.programs.forward import building, class_count, each_sample, forward
from ppema.programs.inputs import Inputs


@dataclass(frozen=True)
class TestProgram:
    """A program that evaluates one set of weights; it reads variables of the scope and changes none.

    measures: "loss" and each metric, as the variable to fetch: [N] float32; of the loss also a scalar, the mean over the batch.
    """

    __test__ = False  # the name is not meant for pytest
    program: Program
    measures: dict[str, Variable]

    def without_loss(self) -> TestProgram:
        """The same program, whose loss is not measured."""
        return replace(self, measures={name: value for name, value in self.measures.items() if name != "loss"})


@dataclass(frozen=True)
class Model:
    """A test program for weights under the variables' own names, and what is needed to feed and describe it.

    structured: the variables' names by their place in the model ("0.weight" → "conv2d_0.w_0"), as `state_dict` has them.
    """

    startup: Program
    test: TestProgram
    inputs: Inputs
    parameters: list[Parameter]
    structured: dict[str, str]

    def without_loss(self) -> Model:
        """The same model, whose loss is not measured."""
        return replace(self, test=self.test.without_loss())


def build_test_model(config: Config, fields: Sequence[Field]) -> Model:
    """The test program of a config's model, built in eval mode: BatchNorm, dropout and the model's own code are all in it.

    fields: shape and type of a sample's inputs and target. Raises ConfigError.
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
        structured = {place: value.name for place, value in model.state_dict().items()}
    # Beside eval mode, for what does not ask it: F.dropout and F.batch_norm train unless they are told not to.
    backend().set_test(main)
    for op in backend().operations(main):
        if op.writes or draws_random_numbers(op):
            does = f"changes {op.writes[0]}" if op.writes else "draws random numbers"
            with config.at("model"):
                raise ConfigError.of(
                    f"in eval mode the model still {does} ({op.kind} at {op.source}): let its forward ask self.training"
                )
    return Model(
        startup,
        TestProgram(main, measures),
        Inputs(tuple(feed.name for feed in feeds), class_count(config.loss.name, predictions, feeds[-1])),
        backend().parameters(main),
        structured,
    )


def rewired(test: TestProgram, names: Mapping[str, str]) -> TestProgram:
    """A copy of `test` that reads the shadow `names[p]` in place of each parameter p."""
    program, values = backend().clone(test.program, list(test.measures.values()))
    read_shadows(backend(), program, names)
    return TestProgram(program, dict(zip(test.measures, values, strict=True)))


def on_onednn(test: TestProgram) -> TestProgram:
    """A copy of `test` on oneDNN."""
    program, values = backend().clone(test.program, list(test.measures.values()))
    OnednnPass().place(program, values)
    return TestProgram(program, dict(zip(test.measures, values, strict=True)))


def train_statistics(config: Config, fields: Sequence[Field]) -> set[str]:
    """The names of the BatchNorm statistics that training a config's model moves. Raises ConfigError."""
    main = paddle.static.Program()
    with backend().fresh_names(), paddle.static.program_guard(main, paddle.static.Program()):
        forward(config, fields, train=True)
    return moving_statistics(main)
