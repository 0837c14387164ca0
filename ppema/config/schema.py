"""The whole config: every key with its unit, range and default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    Field,
    PrivateAttr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic.functional_validators import ModelWrapValidatorHandler

from ppema.config.section import NAME, Section, Seed, Text, by_name, examples
from ppema.config.sections.average_spec import AverageSpec
from ppema.config.sections.board_section import Board
from ppema.config.sections.data import Data
from ppema.config.sections.group import Group
from ppema.config.sections.init_from import InitFrom
from ppema.config.sections.measure import LossPart, LossParts, Measure, MetricSpec
from ppema.config.sections.mix import Mix
from ppema.config.sections.monitor import is_monitor
from ppema.config.sections.named import LearningRate, Named, Optimizer, PassSpec
from ppema.config.sections.runtime_section import Runtime
from ppema.config.sections.sweep_section import Sweep
from ppema.config.sections.train_section import Train
from ppema.config.tree.positions import Positions, leaves
from ppema.config.wording import faults, in_our_words
from ppema.errors import ConfigError, Path, Problem
from ppema.user_code.modules import looking_in
from ppema.user_code.names import did_you_mean
from ppema.values import shown

if TYPE_CHECKING:
    from typing_extensions import Self

_MOST_UNKNOWN = 20
RAW = "raw"  # the name of the weights that are not averaged


def _check_averages(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    taken = {RAW: f"{RAW!r} means the weights themselves; give the average another name"}
    averages = by_name(value, handler, AverageSpec, taken)
    overwriting = [name for name, average in averages.items() if average.overwrite_every is not None]
    if len(overwriting) > 1:
        message = f"{overwriting[0]!r} overwrites the weights already: choose one"
        raise faults([((overwriting[1], "overwrite_every"), message)])
    return averages


Averages = Annotated[
    dict[str, AverageSpec],
    WrapValidator(_check_averages),
    Field(json_schema_extra={"propertyNames": {"pattern": f"^(?!{RAW}$)({NAME}|_replace_)$"}}),
]


class Config(Section):
    """An experiment: everything that decides what a run computes."""

    model_config = examples(
        {
            "seed": 1,
            "model": {"name": "mlp", "args": {"in_features": 64, "num_classes": 10}},
            "init_from": {"path": "runs/pretrained"},
            "data": {
                "train": {"name": "digits", "split": "train", "batch_size": 32, "shuffle": True},
                "eval": {"name": "digits", "split": "test", "batch_size": 256},
            },
            "loss": {"name": "cross_entropy", "args": {"label_smoothing": 0.1}},
            "losses": {},
            "metrics": ["accuracy", "top5"],
            "mix": {"mixup": 0.2},
            "optimizer": "Adam",
            "groups": [{"match": "^0", "lr_scale": 0.1}],
            "lr": 1e-3,
            "averages": {"ema": {"decay": 0.99}},
            "passes": [{"name": "my_passes.Centralize", "after": "backward"}],
            "train": {"epochs": 20},
            "runtime": {"threads": 2},
            "board": {"histograms": True},
            "output": "runs/smoothed",
            "sweep": {"over": {"lr": [1e-3, 1e-2]}},
        }
    )

    seed: Seed = Field(default=0, description="Seed of the initial weights, the order of samples and dropout.")
    model: Named = Field(description="The network: mlp, cnn, or the dotted path of a callable that returns a paddle.nn.Layer.")
    init_from: InitFrom | None = Field(
        default=None, description="Initial weights of a new run. null: random weights, drawn with the seed."
    )
    data: Data = Field(description="The data sets.")
    loss: Measure | None = Field(
        default=Measure(name="cross_entropy"),
        description="The loss: cross_entropy, binary_cross_entropy, focal, dice, mse, mae, smooth_l1, huber, a loss class of "
        "paddle.nn, or the dotted path of a loss of your own. null: see `losses`.",
    )
    losses: LossParts = Field(
        default={}, description="Parts of the loss by name, in place of `loss`. Their weighted sum is trained."
    )
    metrics: tuple[MetricSpec, ...] = Field(
        default=(MetricSpec(name="accuracy"),),
        description="Metrics of evaluations, beside the loss: accuracy, top5, top_k, precision, recall, f1, confusion_matrix, "
        "iou, dice, auc, average_precision, perplexity, mse, mae, rmse, r2, or dotted paths.",
    )
    mix: Mix | None = Field(default=None, description="Mixup and cutmix of training batches. null: neither.")
    optimizer: Optimizer = Field(
        description="The optimizer: a class of paddle.optimizer except LBFGS and Rprop. Its learning rate is `lr`."
    )
    groups: tuple[Group, ...] = Field(
        default=(), description="Variables with their own learning rate or weight decay, or without training."
    )
    lr: LearningRate = Field(description="The learning rate: a number, or a schedule of paddle.optimizer.lr.")
    averages: Averages = Field(
        default={}, description="Averages of the weights by name. Each is evaluated beside the raw weights."
    )
    passes: tuple[PassSpec, ...] = Field(default=(), description="Passes of your own, which change the train program.")
    train: Train = Field(description="The length of the run and its intervals.")
    runtime: Runtime = Field(default=Runtime(), description="Threads, device and execution.")
    board: Board = Field(default=Board(), description="Histograms and images for VisualDL.")
    output: Text | None = Field(
        default=None, description="Folder for everything that the run writes. null: `runs/<name of the config file>`."
    )
    # Excluded from what a run records: its files are the same whether the run is part of a sweep or not.
    sweep: Sweep | None = Field(
        default=None, exclude=True, description="Many runs with other values of some keys. A single run ignores it."
    )

    @property
    def loss_parts(self) -> dict[str, LossPart]:
        """The parts of the loss by name. A `loss` is one part named "", of weight 1."""
        return self.losses or {"": LossPart(**dict(self.loss or Measure(name="cross_entropy")))}

    def at_loss(self, name: str) -> AbstractContextManager[None]:
        """The context `at` of one of `loss_parts`."""
        return self.at("losses", name) if name else self.at("loss")

    _positions: Positions = PrivateAttr(default_factory=Positions)

    @model_validator(mode="wrap")
    @classmethod
    def _say_it_in_our_words(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        config, found = None, [*_unknown_weights(value), *_nothing_to_snapshot(value), *_two_losses(value)]
        try:
            config = handler(_with_one_loss(value))
        except ValidationError as error:
            found += in_our_words(error, cls)
        if config is not None:
            found += [*_nothing_to_draw(config), *_not_drawn(config)]
        if config is None or found:
            raise ConfigError(Problem(path, message) for path, message in found)
        return config

    def replace(self, **changes: Any) -> Self:
        """A copy with `changes`, validated. It keeps the positions of the keys in their files. Raises ConfigError."""
        made = super().replace(**changes)
        before = dict(leaves(self.model_dump()))
        changed = {path for path, value in leaves(made.model_dump()) if path not in before or before[path] != value}
        return made.at_positions(replace(self._positions, replaced=self._positions.replaced | changed))

    @property
    def positions(self) -> Positions:
        """The positions of its keys in their files; empty for a config that code made."""
        return self._positions

    def at_positions(self, positions: Positions) -> Self:
        """A copy of the config that holds the positions of its keys in their files."""
        config = self.model_copy()
        config._positions = positions
        return config

    @contextmanager
    def at(self, *path: str | int) -> Iterator[None]:
        """A context for the section at `path`. It completes the paths and positions in every ConfigError raised inside.

        Inside, paths of problems begin at the section, and modules are also searched in the config's folders.
        """
        try:
            with looking_in(self._positions.folders):
                yield
        except ConfigError as error:
            raise self._positions.locate(error, path) from error


def _unknown_weights(value: Any) -> list[tuple[Path, str]]:
    """The path and message of each key of `train` that names unknown weights.

    `value` is not validated yet: pydantic checks across sections only if each section is valid.
    """
    averages = _get(value, "averages") or {}
    if not isinstance(averages, Mapping):
        return []
    names = dict.fromkeys([RAW, *map(str, averages)])
    found: list[tuple[Path, str]] = []
    for path, weights in _named_weights(_get(value, "train")):
        if weights not in names:
            hint = did_you_mean(weights, names) or f"; known: {', '.join(names)}"
            found.append((path, f"no average is called {shown(weights)}{hint}"))
            if len(found) == _MOST_UNKNOWN:  # The hint compares each name with all others.
                break
    return found


def _named_weights(train: Any) -> Iterator[tuple[Path, str]]:
    """The path and name of all weights in the section `train`, which is not validated yet."""
    monitors = _entries(("train", "monitor"), _get(train, "monitor"))
    monitors += _entries(("train", "early_stop", "monitor"), _get(_get(train, "early_stop"), "monitor"))
    yield from ((path, each.partition("/")[0]) for path, each in monitors if is_monitor(each))
    yield from (
        (path, each) for path, each in _entries(("train", "evaluate"), _get(train, "evaluate")) if isinstance(each, str)
    )


def _entries(path: Path, value: Any) -> list[tuple[Path, Any]]:
    """`value`, or each of its entries if it is a list, with its path."""
    return [((*path, index), each) for index, each in enumerate(value)] if isinstance(value, (list, tuple)) else [(path, value)]


def _nothing_to_snapshot(value: Any) -> list[tuple[Path, str]]:
    """The problem of a `train.snapshot_every` without an average for snapshots. `value` is not validated yet."""
    averages = _get(value, "averages") or {}
    if _get(_get(value, "train"), "snapshot_every") is None or not isinstance(averages, Mapping):
        return []
    if any(_get(average, "sigma_rel") is not None for average in averages.values()):
        return []
    return [(("train", "snapshot_every"), "no average has a sigma_rel to take snapshots of: give it to two, 0.05 and 0.10")]


def _nothing_to_draw(config: Config) -> list[tuple[Path, str]]:
    """The problem of a `board.confusion` without a confusion matrix."""
    if not config.board.confusion or any(metric.name == "confusion_matrix" for metric in config.metrics):
        return []
    return [(("board", "confusion"), "no metric is a confusion_matrix: add it to `metrics`")]


def _not_drawn(config: Config) -> list[tuple[Path, str]]:
    """The problems of sharded averages beside what the board draws of whole averages."""
    drawn = [key for key in ("histograms", "pictures") if getattr(config.board, key)]
    return [
        (("averages", name, "sharded"), f"can not be combined with board.{key}, which draws whole averages")
        for name, average in config.averages.items()
        if average.sharded
        for key in drawn
    ]


def _two_losses(value: Any) -> list[tuple[Path, str]]:
    """The problem of a config with both `loss` and `losses`. `value` is not validated yet."""
    if _get(value, "loss") is not None and _get(value, "losses"):
        return [(("losses",), "`loss` is given as well: write `loss: null`, or make it one of the parts")]
    return []


def _with_one_loss(value: Any) -> Any:
    """`value` with `loss: null` if it has `losses`, and otherwise without a `loss: null`."""
    if not isinstance(value, Mapping) or value.get("loss") is not None:
        return value
    rest = {key: each for key, each in value.items() if key != "loss"}
    return {**rest, "loss": None} if value.get("losses") else rest


def _get(section: Any, key: str) -> Any:
    return section.get(key) if isinstance(section, Mapping) else getattr(section, key, None)
