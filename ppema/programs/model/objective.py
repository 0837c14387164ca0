"""The objective of a step: the loss of a config, or the weighted sum of its parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import paddle

from ppema.config import Config
from ppema.data import Field
from ppema.errors import ConfigError
from ppema.ir import Variable, is_variable
from ppema.losses import Scores, TargetRange, Weighted, build_loss, mean
from ppema.metrics import measured
from ppema.programs.model.outputs import operands
from ppema.user_code.blame import building


@dataclass(frozen=True)
class Objective:
    """The parts of a loss in a program.

    parts: by name, [N] float32 or `Weighted`, or a scalar mean over the batch; one part named "" without `losses`.
    weights: the factor of each part.
    accepts: by target's name, its valid values, if the loss limits them.
    classes: the number of classes between which the parts decide; None if none does, or if they differ.
    """

    parts: dict[str, Variable | Weighted]
    weights: dict[str, float]
    accepts: dict[str, TargetRange]
    classes: int | None

    @property
    def weighted(self) -> bool:
        """Whether a part has weights of its own."""
        return any(isinstance(part, Weighted) for part in self.parts.values())

    def weight_sum(self) -> Variable | None:
        """Append Σ weights of a `Weighted` loss over the batch, 0-D float32. None: each sample counts once.

        Raises ConfigError for a `Weighted` part beside others: the mean of each part then has a divisor of its own, so that the
        gradients of micro-batches have no common weights.
        """
        weighted = [name for name, part in self.parts.items() if isinstance(part, Weighted)]
        if not weighted:
            return None
        if len(self.parts) > 1:
            raise ConfigError.of(
                "the loss gives weights to its values (class weights or ignore_index), so that the parts of a batch can not be "
                "added up exactly beside other parts of the loss: set train.accumulate to 1, and train in one process",
                weighted[0],
            )
        return self.parts[weighted[0]].weights.sum()

    def total(self) -> tuple[Variable, dict[str, Variable]]:
        """Append Σ weight·mean over the batch, 0-D float32. Returns it, and the means of the named parts by "loss.<name>"."""
        means = {name: mean(part) for name, part in self.parts.items()}
        if "" in means:
            return means[""], {}
        terms = [value * self.weights[name] for name, value in means.items()]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return total, {f"loss.{name}": value for name, value in means.items()}


def refuse_sums(config: Config) -> None:
    """Raises ConfigError for a part of the loss that is a sum: gradients of micro-batches are averaged, not added.

    Only an argument `reduction: sum` shows in a config. Other sums are found on samples of the data, by `evaluation.trial`.
    """
    for name, spec in config.loss_parts.items():
        if spec.args.get("reduction") == "sum":
            with config.at_loss(name):
                raise ConfigError.of(
                    "the gradients of micro-batches and of ranks are averaged, which requires a mean over samples, and not a "
                    "sum: remove it, or set train.accumulate to 1 and train in one process",
                    "args",
                    "reduction",
                )


def objective(config: Config, outputs: Mapping[str, Variable], targets: Mapping[str, Variable]) -> Objective:
    """Build the loss of `config`, or each part of it. Raises ConfigError."""
    parts: dict[str, Variable | Weighted] = {}
    accepts: dict[str, TargetRange] = {}
    counts: set[int] = set()
    for name, spec in config.loss_parts.items():
        with config.at_loss(name):
            predictions, target = operands(spec, outputs, targets, name)
            with building():
                loss = build_loss(spec)
                parts[name] = measured("loss", loss(predictions, target))
            chosen = next((each for each, value in targets.items() if value is target), None)
            valid = None if chosen is None else loss.accepts(predictions, target)
            if chosen is not None and valid is not None:
                accepts[chosen] = valid.both(accepts[chosen]) if chosen in accepts else valid
            told = loss.scores(predictions, target) if is_variable(predictions) and is_variable(target) else None
            if told is not None and told.axis is not None:
                counts.add(predictions.shape[told.axis])
    classes = counts.pop() if len(counts) == 1 else None
    weights = {name: spec.weight for name, spec in config.loss_parts.items()}
    return Objective(parts, weights, accepts, classes if classes != -1 else None)


def scores(config: Config, outputs: Mapping[str, Variable], targets: Sequence[Field]) -> dict[str, Scores]:
    """What the numbers of each output are, by the parts of the loss that read it. Raises ConfigError.

    targets: the fields of a sample that are targets. An output has no entry if no part tells, or if two parts differ.
    """
    found: dict[str, set[Scores]] = {}
    aside = paddle.static.Program()  # for the forms of targets; it must outlive its variables
    with paddle.static.program_guard(aside):
        feeds = {each.name: paddle.static.data(each.name, [-1, *each.shape], getattr(paddle, each.dtype)) for each in targets}
    for name, spec in config.loss_parts.items():
        with config.at_loss(name):
            predictions, target = operands(spec, outputs, feeds, name)
            with building():
                loss = build_loss(spec)
        read = next((each for each, value in outputs.items() if value is predictions), None)
        if read is not None and is_variable(target) and (told := loss.scores(predictions, target)) is not None:
            found.setdefault(read, set()).add(told)
    return {name: told.pop() for name, told in found.items() if len(told) == 1}
