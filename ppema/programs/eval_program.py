"""Builds test programs, which evaluate weights and change no variable."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import paddle

from ppema.config import Config
from ppema.data import Field
from ppema.errors import ConfigError
from ppema.ir import Parameter, Program, Variable, backend, draws_random_numbers, is_variable
from ppema.losses import has_classes
from ppema.metrics import (
    METRICS,
    Counts,
    Gauge,
    Metric,
    SumOfMeans,
    build_metrics,
    mean_statistics,
    place,
    warn_of_ignored,
)
from ppema.passes.average import read_shadows
from ppema.passes.onednn import OnednnPass
from ppema.programs.feed import Inputs
from ppema.programs.model.forward import forward
from ppema.programs.model.objective import Objective, scores
from ppema.programs.model.outputs import operands
from ppema.programs.model.pictured import Pictured, pictured
from ppema.user_code.blame import building

_OF_THE_LARGEST = ("accuracy", "top5", "top_k")  # the metrics that take the largest number of a float32 target for its class


def is_loss(measure: str) -> bool:
    """Whether the measure of this name is the loss, or a part of it."""
    return measure == "loss" or measure.startswith("loss.")


@dataclass(frozen=True)
class TestProgram:
    """A program that evaluates one set of weights. It reads variables of the scope and changes none.

    measures: "loss", each of its parts and each metric by name: statistics of a batch, and a function that turns those of a set
    into figures. operands: what metrics with Counts compare, by metric and part, as `flat` names them. Empty, unless
    samples are kept. shown: the output of `Model.pictured`; None without it.
    """

    __test__ = False  # pytest would collect a class of this name
    program: Program
    measures: dict[str, Gauge]
    operands: dict[str, dict[str, Variable]] = field(default_factory=dict)
    shown: Variable | None = None

    @property
    def variables(self) -> list[Variable]:
        """The variables of the statistics of each measure, in order."""
        return [variable for measure in self.measures.values() for variable in measure.variables]

    @property
    def fetched(self) -> list[Variable]:
        """The variables to fetch: `variables`, then those of `operands`, in order."""
        return [*self.variables, *(variable for each in self.operands.values() for variable in each.values())]

    @property
    def followed(self) -> list[Variable]:
        """The variables that a clone of the program needs: `fetched`, then `shown`."""
        return [*self.fetched, *([] if self.shown is None else [self.shown])]

    def in_clone(self, program: Program, variables: Sequence[Variable]) -> TestProgram:
        """The same measures in a clone of the program. variables: those of the clone, in the order of `self.followed`."""
        left = iter(variables)
        measures = {name: measure.reading(left) for name, measure in self.measures.items()}
        compared = {name: {part: next(left) for part in each} for name, each in self.operands.items()}
        return TestProgram(program, measures, compared, None if self.shown is None else next(left))

    def without_loss(self) -> TestProgram:
        """The same program, without the loss and its parts as measures."""
        return replace(self, measures={name: value for name, value in self.measures.items() if not is_loss(name)})


@dataclass(frozen=True)
class Model:
    """A test program for weights under the variables' own names, with its startup program, inputs and parameters.

    structured: variables' names by their place in the model, as in `state_dict` ("0.weight" → "conv2d_0.w_0").
    classes: the number of classes between which it decides; None if it does not, or if it is unknown.
    pictured: what shows its predictions of pictures; None if that was not requested.
    """

    startup: Program
    test: TestProgram
    inputs: Inputs
    parameters: list[Parameter]
    structured: dict[str, str]
    classes: int | None
    pictured: Pictured | None = None

    def without_loss(self) -> Model:
        """The same model, without the loss as a measure."""
        return replace(self, test=self.test.without_loss())


def build_test_model(config: Config, fields: Sequence[Field], *, samples: bool = False, pictures: bool = False) -> Model:
    """Build the test program of a config's model in eval mode, which BatchNorm, dropout and the model's own code follow.

    fields: shape and dtype of a sample's inputs and target; samples: whether `TestProgram.operands` are needed; pictures:
    whether `Model.pictured` is. Raises ConfigError, also if the model in eval mode changes a variable or draws random numbers,
    and if its predictions can not be shown as pictures.
    """
    startup, main = paddle.static.Program(), paddle.static.Program()
    with backend().fresh_names(), paddle.static.program_guard(main, startup):
        made = forward(config, fields, train=False)
        measures, compared = _losses(made.objective), dict[str, dict[str, Variable]]()
        told = scores(config, made.outputs, [field for field in fields if field.is_target])
        yes_or_no = [made.outputs[name] for name, each in told.items() if each.axis is None]
        with config.at("metrics"):
            for index, (name, metric) in enumerate(build_metrics(config.metrics).items()):
                spec = config.metrics[index]
                with building(index):
                    predictions, target = operands(spec, made.outputs, made.targets)
                    if spec.name in METRICS and not (is_variable(predictions) and is_variable(target)):
                        raise ConfigError.of(
                            f"{spec.name} takes one output and one target: name several metrics, or one of your own"
                        )
                    measures[name] = place(name, metric, predictions, target)
                if samples and any(isinstance(each, Counts) for each in measures[name].statistics.values()):
                    compared[name] = {**flat("predictions", predictions), **flat("targets", target)}
                if spec.name in _OF_THE_LARGEST and not spec.args.keys() & {"multilabel", "threshold"}:
                    _warn_of_labels(index, spec.name, predictions, target, yes_or_no)
        shown = pictured(config, fields, made, told) if pictures else None
        warn_of_ignored(config.loss_parts, config.metrics, one_target=len(made.targets) == 1)
        structured = {place: value.name for place, value in made.model.state_dict().items()}
    refuse_changes(config, main)
    return Model(
        startup,
        TestProgram(main, measures, compared, None if shown is None else made.outputs[shown.output]),
        Inputs(tuple(field.name for field in fields), made.objective.accepts),
        backend().parameters(main),
        structured,
        made.objective.classes,
        shown,
    )


def flat(operand: str, value: Variable | Mapping[str, Variable]) -> dict[str, Variable]:
    """The variables of an operand of a metric by part: "targets", or "targets.<name>" of a mapping."""
    return {operand: value} if is_variable(value) else {f"{operand}.{name}": each for name, each in value.items()}


def _warn_of_labels(index: int, name: str, predictions: Variable, target: Variable, yes_or_no: Sequence[Variable]) -> None:
    """Warn of a metric that takes the largest number of a target for its class, where the loss takes each for a yes or no.

    index, name: of the metric; yes_or_no: the outputs that the loss takes so.
    """
    if any(predictions is each for each in yes_or_no) and not has_classes(target) and len(target.shape) > 1 < target.shape[-1]:
        warnings.warn(
            f"metrics.{index}: {name} takes the largest of {target.shape[-1]} numbers for the class of a target, and the loss "
            "takes each for a yes or no: for several labels of a sample, use accuracy with args: {multilabel: true}",
            stacklevel=3,
        )


def refuse_changes(config: Config, main: Program) -> None:
    """Put `main`, a program of the model in eval mode, into test mode.

    Raises ConfigError if it still changes a variable or draws random numbers.
    """
    # Eval mode does not reach F.dropout and F.batch_norm, whose default is to train.
    backend().set_test(main)
    for op in backend().operations(main):
        if op.writes or draws_random_numbers(op):
            does = f"changes {op.writes[0]}" if op.writes else "draws random numbers"
            with config.at("model"):
                raise ConfigError.of(
                    f"in eval mode the model still {does} ({op.kind} at {op.source}): check self.training in its forward"
                )


def _losses(objective: Objective) -> dict[str, Gauge]:
    """The loss, which is the weighted sum of the means of its parts over the set; and each of its parts by "loss.<name>"."""
    parts = {name: mean_statistics(part) for name, part in objective.parts.items()}
    results = _loss_results(objective.weights)
    if "" in parts:
        return {"loss": Gauge("loss", parts[""], results["loss"].result)}
    statistics = {f"{name}.{key}": value for name, each in parts.items() for key, value in each.items()}
    measures = {f"loss.{name}": Gauge(f"loss.{name}", each, results[f"loss.{name}"].result) for name, each in parts.items()}
    return {"loss": Gauge("loss", statistics, results["loss"].result), **measures}


def _loss_results(weights: Mapping[str, float]) -> dict[str, SumOfMeans]:
    """The function of each measure of a loss. weights: of its parts; one part is named "" without `losses`."""
    each = {f"loss.{name}": SumOfMeans({"": 1.0}) for name in weights if name}
    return {"loss": SumOfMeans(weights), **each}


def measure_results(config: Config) -> dict[str, Metric | SumOfMeans]:
    """What turns the statistics of a set into figures, for each measure of the programs of `config`. Raises ConfigError."""
    with config.at("metrics"):
        metrics = build_metrics(config.metrics)
    return {**_loss_results({name: spec.weight for name, spec in config.loss_parts.items()}), **metrics}


def rewired(test: TestProgram, names: Mapping[str, str]) -> TestProgram:
    """A copy of `test` that reads the shadow `names[p]` instead of each parameter p."""
    program, values = backend().clone(test.program, test.followed)
    read_shadows(backend(), program, names)
    return test.in_clone(program, values)


def on_onednn(test: TestProgram) -> TestProgram:
    """A copy of `test` whose convolutions oneDNN computes."""
    program, values = backend().clone(test.program, test.followed)
    OnednnPass().place(program, values)
    return test.in_clone(program, values)
