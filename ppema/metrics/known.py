"""The metrics that a config can name, and those of a config."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ppema.checkpoint.best import has_direction, less_is_better
from ppema.errors import ConfigError, Problem
from ppema.losses import mae, mse
from ppema.metrics.classes import ConfusionMatrix, DiceScore, F1Score, IoU, PrecisionScore, RecallScore
from ppema.metrics.mean import MeanOf
from ppema.metrics.metric import Metric
from ppema.metrics.numbers import R2, Perplexity, RootMeanSquare
from ppema.metrics.ranking import AreaUnderRoc, AveragePrecision
from ppema.metrics.samples import accuracy, top_k
from ppema.user_code.blame import blamed
from ppema.user_code.names import check_arguments, resolve

METRICS: dict[str, Callable[..., Any]] = {
    "accuracy": accuracy,
    "top5": partial(accuracy, k=5),
    "top_k": top_k,
    "precision": PrecisionScore,
    "recall": RecallScore,
    "f1": F1Score,
    "confusion_matrix": ConfusionMatrix,
    "iou": IoU,
    "dice": DiceScore,
    "auc": AreaUnderRoc,
    "average_precision": AveragePrecision,
    "perplexity": Perplexity,
    "mse": mse,
    "mae": mae,
    "rmse": RootMeanSquare,
    "r2": R2,
}
# Those whose values are shares of what is right in a sample, in [0, 1].
SHARES = ("accuracy", "top5", "top_k")
# The other keys of an evaluation's record in metrics.jsonl, which figures lie beside.
RECORD_KEYS = ("kind", "step", "epoch", "seconds", "weights")


def build_metrics(specs: Sequence[Any]) -> dict[str, Metric]:
    """The metrics of `specs`, a config's entries, by the names of their figures.

    A plain function becomes the mean of its values. Raises ConfigError for unknown names, wrong arguments, duplicate names, a
    class that is no Metric, for a name of figures that records use themselves, and for one that hides whether more or less of
    them is better.
    """
    metrics: dict[str, Metric] = {}
    problems: list[Problem] = []
    for index, spec in enumerate(specs):
        try:
            metric = _build(spec)
        except ConfigError as error:
            problems += [Problem((index, *problem.path), problem.message) for problem in error.problems]
            continue
        key = "name" if spec.called is None else "as"
        if spec.figure in metrics or spec.figure == "loss":
            problems.append(Problem((index, key), f"there is already a metric named {spec.figure!r}"))
        elif spec.figure in RECORD_KEYS:
            said = f"{spec.figure!r} is a key of every record in metrics.jsonl: give the metric another name by `as`"
            problems.append(Problem((index, key), said))
        elif spec.name in METRICS and has_direction(spec.figure) and less_is_better(spec.figure) != less_is_better(spec.name):
            more = "less" if less_is_better(spec.figure) else "more"
            problems.append(Problem((index, key), f"{spec.figure!r} sounds as if {more} were better, unlike {spec.name}"))
        metrics[spec.figure] = metric
    if problems:
        raise ConfigError(problems)
    return metrics


def _build(spec: Any) -> Metric:
    found = resolve(spec.name, METRICS, "metric")
    if not isinstance(found, type):
        check_arguments(found, spec.args, positional=2, what=spec.name)
        return MeanOf(spec.name, partial(found, **spec.args))
    if not issubclass(found, Metric):
        raise ConfigError.of(f"{spec.name} is a class, but no subclass of ppema.metrics.Metric", "name")
    check_arguments(found, spec.args, what=spec.name)
    try:
        return found(**spec.args)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError.of(blamed(error), "args") from error
