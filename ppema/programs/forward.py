"""Builds model, inputs, predictions and loss in a program, for training, evaluation and prediction alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import paddle

from ppema.config import Config
from ppema.data import Field
from ppema.errors import ConfigError
from ppema.ir import Variable, dtype_name
from ppema.losses import build_loss, form, has_classes, per_sample
from ppema.models import MODELS
from ppema.user_code.blame import blamed
from ppema.user_code.names import check_arguments, resolve


def forward(config: Config, fields: Sequence[Field], *, train: bool) -> tuple[Any, list[Variable], Variable, Variable]:
    """Build a config's model in the default main program, in train or eval mode.

    fields: of a sample. Returns the model, the inputs [N, ...] with the target last, the
    predictions, and the loss: [N] float32, or a scalar mean over the batch. Raises ConfigError.
    """
    with config.at("model"):
        model = _build_model(config.model)
        model.train() if train else model.eval()
        feeds = [paddle.static.data(field.name, [-1, *field.shape], getattr(paddle, field.dtype)) for field in fields]
        with building(about=f"the model can not take the data's {', '.join(form(feed) for feed in feeds[:-1])}"):
            predictions = model(*feeds[:-1])
        if not is_variable(predictions):
            raise ConfigError.of(f"the model must return one variable, it returns a {type(predictions).__name__}")
    with config.at("loss"), building():
        loss = measure("loss", build_loss(config.loss)(predictions, feeds[-1]))
    return model, feeds, predictions, loss


def _build_model(spec: Any) -> Any:
    target = resolve(spec.name, MODELS, "model")
    check_arguments(target, spec.args, what=spec.name)
    with building("args"):
        model = target(**spec.args)
    if not isinstance(model, paddle.nn.Layer):
        raise ConfigError.of(f"{spec.name} returns a {type(model).__name__}, not a paddle.nn.Layer", "name")
    return model


def is_variable(value: Any) -> bool:
    """Whether `value` is a variable of a program. Arrays have a shape and a dtype too."""
    return hasattr(value, "stop_gradient") and hasattr(value, "shape")


def measure(name: str, value: Any) -> Variable:
    """Cast the result `value` of the loss or metric `name` to float32: [N], or a scalar that is the mean over the batch.

    Raises ConfigError for a result that is no variable, and for any other shape.
    """
    if not is_variable(value):
        raise ConfigError.of(f"{name} must return a variable, it returns a {type(value).__name__}")
    value = per_sample(value if dtype_name(value) == "float32" else paddle.cast(value, "float32"))
    if list(value.shape) not in ([], [1], [-1]):
        raise ConfigError.of(f"{name} must return a value per sample, or one for the batch; it returns {form(value)}")
    return value


def each_sample(name: str, value: Any) -> Variable:
    """Cast the result `value` of the metric `name` to float32 [N].

    Raises ConfigError for one number per batch, such as an F1 score: the mean of such numbers over batches depends on the
    batch size, and is not the metric of the data set.
    """
    value = measure(name, value)
    if list(value.shape) != [-1]:
        raise ConfigError.of(
            f"{name} returns one number for the batch, {form(value)}, and the mean of such numbers depends on "
            "data.eval.batch_size: return one value per sample, of shape [N]"
        )
    return value


def class_count(loss: str, predictions: Variable, targets: Variable) -> int | None:
    """The number of classes; None if targets are not class labels, or if the predictions' last axis may not be classes."""
    flat = len(predictions.shape) == 2 and len(targets.shape) == 1
    return predictions.shape[-1] if has_classes(targets) and (flat or loss == "cross_entropy") else None


@contextmanager
def building(*path: str | int, about: str = "") -> Iterator[None]:
    """Turns an exception of the user's code into a ConfigError of one line at `path`. about: the start of that line."""
    try:
        yield
    except ConfigError as error:
        if not path:
            raise
        raise ConfigError([type(p)((*path, *p.path), p.message) for p in error.problems]) from error
    except (Exception, SystemExit) as error:
        raise ConfigError.of(f"{about}: {blamed(error)}" if about else blamed(error), *path) from error
