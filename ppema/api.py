"""The public functions of a run: they take its config, load paddle with the config's threads, and then do their work.

The module imports no paddle, because paddle's thread count can not change once it is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from ppema.config import DEFAULT_BATCHES, RAW, Config
from ppema.environment import paddle_with
from ppema.errors import Naming, PpemaError
from ppema.log.given_run import check_config, config_of
from ppema.log.run import Run
from ppema.posthoc.request import request_of
from ppema.ranks import launched_ranks

if TYPE_CHECKING:
    from ppema.checkpoint.best import Mode
    from ppema.data.given.preparation import OnError
    from ppema.deploy.exporting import Format
    from ppema.deploy.inference import ExportedModel
    from ppema.deploy.weights_export import Exported, Names
    from ppema.experiments.comparison.comparison import Comparison, WhichEvaluation
    from ppema.passes.select import BatchNormPolicy
    from ppema.posthoc.lengths import Kind
    from ppema.posthoc.request import Method
    from ppema.posthoc.search import Outcome
    from ppema.prediction.predicted import Predicted
    from ppema.programs.build import Programs
    from ppema.training.loop import Result


def train(config: Config, *, resume: str = "auto", extend: bool = False) -> Result:
    """Train the run of `config`, and evaluate the raw weights and every average on the way.

    resume: "auto" continues from the run's newest intact checkpoint, if any; "never" refuses an existing run. Any other value
    names the checkpoint: "last", "best", or a path, also of another run (`Checkpoints.find`).
    extend: accept a longer run in which lengths in percent change. The learning rate then follows the new schedule.

    Writes under the config's `output` only. Raises PpemaError for anything but a Config, and ConfigError, DataError,
    CheckpointError or SetupError for bad input. Raises TrainingError for more skipped steps than `train.max_skipped`, after
    saving the state, for a state that is not finite, and for a failed write. Earlier checkpoints stay unchanged.
    """
    check_config(config)
    paddle_with(config.runtime.threads)
    from ppema.training import loop

    return loop.train(config, resume=resume, extend=extend)


def build(config: Config) -> Programs:
    """All programs of `config`: startup, train, and a test program for the raw weights and each average.

    With `runtime.onednn`, the train program is made for this CPU; test programs can be saved and run anywhere.

    Raises PpemaError for anything but a Config; ConfigError, DataError or SetupError.
    """
    check_config(config)
    paddle_with(config.runtime.threads)
    from contextlib import closing

    from ppema.training.setup import prepare_training

    with closing(prepare_training(config)) as run:
        return run.programs


def evaluate(
    config: Config | Run | str | os.PathLike[str],
    weights: str | os.PathLike[str] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    *,
    batch_norm: Sequence[BatchNormPolicy] | Literal["all"] | None = None,
    recalibrate_batches: int | None = None,
    keep_samples: bool = False,
    samples_limit: float | None = None,
) -> dict[str, dict[str, Any]]:
    """The figures of a checkpoint's weights over `data.eval`, by weights and name, such as ["ema"]["accuracy"].

    A figure is a float, or an array as nested lists, such as a confusion matrix.
    The evaluated program has no averages: the values of an average are loaded into the variables themselves.

    config: that of a run, `ppema.run(path)`, or the path of its folder.
    weights: "raw", an average's name, or None for all in the checkpoint; or the path of a file of weights (*.safetensors),
    without any of the other arguments. checkpoint: "last" (the default), "best", or a path.
    batch_norm: policies for BatchNorm's statistics; the weights are evaluated under each, as "<weights> (<policy>)". "all": all
    policies that the weights have. None: the statistics in the checkpoint.
    recalibrate_batches: the largest number of training batches for "recalibrate". None: as for each average in training, or 50.
    keep_samples: also write the statistics of each sample to the folder `samples` of the run, for intervals.
    samples_limit: the most memory and disk for those of one set of weights, in GiB. None: 2.

    Raises PpemaError for invalid arguments; ConfigError, DataError, CheckpointError, SetupError, TrainingError.
    """
    config = config_of(config)
    paddle_with(config.runtime.threads)
    from ppema.evaluation.samples.taken import TakenSamples
    from ppema.evaluation.stored import evaluate_stored
    from ppema.programs.all_ranks import all_ranks

    samples = TakenSamples(config, keep=keep_samples, limit=samples_limit)
    options = {"recalibrate_batches": recalibrate_batches, "samples": samples}
    with all_ranks(config) as world:
        return evaluate_stored(config, weights, checkpoint, batch_norm=batch_norm, **options, world=world)


def average(
    run: Config | Run | str | os.PathLike[str],
    *,
    sigma_rel: float | str | Iterable[float | str] | None = None,
    half_life: str | Iterable[str] | None = None,
    search: Method | None = None,
    last_checkpoints: int | None = None,
    over: Kind | None = None,
    between: str | Iterable[float | str] | None = None,
    points: int | None = None,
    step: int | None = None,
    metric: str | None = None,
    recalibrate_batches: int = DEFAULT_BATCHES,
    name: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Build averages from a finished run, measure them over data.eval, and write weights, table and figure.

    run: its config, `ppema.run(path)`, or the path of its folder. Exactly one of the next four arguments is required:

    sigma_rel: power functions of these widths relative to the run, in [0.0001, 0.2886], such as 0.05 or [0.05, 0.15].
    half_life: averages of these half-lives, such as "2 epochs" or ["2 epochs", "500 steps"]. Each average of both kinds is
    built from snapshots (`train.snapshot_every`) and written.
    search: "grid" tries `points` lengths (default: 9), "golden" as many by golden sections; the winner is written. over: the
    kind of length, "sigma_rel" (default) or "half_life"; between: the least and the greatest length, by default 0.02 and 0.25,
    or 1 % and 20 % of the run.
    last_checkpoints: the uniform mean of the raw weights of this number of newest checkpoints.

    step: the step of the run for averages from snapshots, between the first and the last snapshot (default: the last); metric:
    decides about the best (default: train.monitor's, or the first of `metrics`); recalibrate_batches: the number of training
    batches for the recalibration of BatchNorm for each candidate, 0 to use averaged statistics; name: of the files in
    <output>/averages; say: receives a line for each result at once.

    Raises PpemaError for wrong arguments, CheckpointError for snapshots or checkpoints that are missing, damaged or of another
    model, and TrainingError if no candidate can win or a file can not be written. Raises ConfigError, DataError or SetupError
    if the evaluation can not be prepared.
    """
    config = config_of(run)
    averages = {"sigma_rel": sigma_rel, "half_life": half_life, "search": search, "last_checkpoints": last_checkpoints}
    searched = {"over": over, "between": between, "points": points}
    measured = {"step": step, "metric": metric, "recalibrate_batches": recalibrate_batches, "name": name}
    request = request_of(**averages, **searched, **measured)
    paddle_with(config.runtime.threads)
    from ppema.posthoc import search as posthoc
    from ppema.programs.all_ranks import all_ranks

    with all_ranks(config) as world:
        return posthoc.average(config, request, say=say, world=world)


def compare(
    runs: Iterable[Run | str | os.PathLike[str]],
    *,
    metric: str | Iterable[str] | None = None,
    weights: str | Iterable[str] | None = None,
    target: float | None = None,
    objective: WhichEvaluation = "last",
    mode: Mode | None = None,
    any_data: bool = False,
    intervals: bool = False,
    baseline: str | os.PathLike[str] | None = None,
) -> Comparison:
    """Compare the raw weights and the averages of `runs`: means and spreads over seeds, paired tests.

    runs: paths of runs and of sweeps (of these, the finished runs), or what `ppema.run` returns. Runs whose configs differ only
    in seed, `data.split.fold` and output are one group.
    metric: one metric, or several, of which the first decides about everything but the columns of the table. None: all that the
    runs share, without parts such as f1.cat, beginning with that of `train.monitor` if it is the same for all.
    weights: "raw", the name of an average, or several. None: all. target: a value of the metric, for the steps and seconds of
    training until the first evaluation that reaches it.
    objective: "last" takes the last evaluation of each set of weights, "best" that with the best value of the metric.
    mode: "max" or "min", for a metric whose name does not say which is better. any_data: compare runs although their configs
    name other evaluation data. intervals: also over the samples that `evaluate(keep_samples=True)` keeps. Loads paddle.
    baseline: a group, or the path of one of its runs. None: the best trial of a sweep given alone, else the first group.
    Tests compare each average with the raw weights, and each group with the baseline, by pairs of runs of the same seed. The
    result has `text()`, `markdown()`, `csv()`, `plain()` and `draw(file)`.

    Raises PpemaError for runs that can not be compared, and wrong arguments; ConfigError or SetupError for unreadable files.
    """
    from ppema.experiments.comparison.compare import compare

    options = {"mode": mode, "any_data": any_data, "intervals": intervals, "baseline": baseline}
    return compare(runs, metric=metric, weights=weights, target=target, objective=objective, **options)


def predict(
    config: Config | Run | str | os.PathLike[str],
    inputs: Any,
    *,
    weights: str | os.PathLike[str] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    batch_size: int | None = None,
    on_error: OnError = "stop",
) -> Iterator[Predicted]:
    """Predict for `inputs`, one sample after another. Only a few batches are in memory at a time.

    The inputs are prepared as in the evaluations of the run: by its transforms, and its numbers of `data.normalize`.

    config: that of a run, `ppema.run(path)`, or the path of its folder; or the path of an exported folder (format paddle).
    inputs: a path, or several: *.npz, whose arrays have the names of the inputs; *.csv, with the columns of training;
    pictures, and folders of pictures; "data.eval" or "data.train" of the config; the dotted path of a data set. Or a data set,
    whose targets are ignored; one array [N, ...] for a model with one input; or arrays by the names of the inputs.
    weights: "raw", an average's name, or the path of a file of weights (*.safetensors). None: those of the first
    `train.monitor`; without it, raw. checkpoint: "last" (the default), "best", or a path.
    batch_size: that of `data.eval` by default. on_error: "stop" raises DataError for a sample that can not be used, "skip"
    leaves it out with a warning.

    Everything is opened before the function returns. Raises PpemaError for invalid arguments; ConfigError, DataError,
    CheckpointError, SetupError. The iterator raises DataError for an unusable sample, and TrainingError for an operation that
    fails.
    """
    if isinstance(config, str | os.PathLike) and os.path.isfile(os.path.join(config, "model.json")):
        if weights is not None:
            raise PpemaError(Naming("{weights}: {} is an exported model: leave it out", os.fspath(config)))
        weights, found = config, None
    else:
        found = config_of(config)
    paddle_with("auto" if found is None else found.runtime.threads)
    from ppema.prediction.predict import predicted_samples

    options = {"weights": weights, "checkpoint": checkpoint, "batch_size": batch_size, "on_error": on_error}
    return predicted_samples(found, inputs, **options)


def export(
    config: Config | Run | str | os.PathLike[str],
    to: str | os.PathLike[str],
    *,
    format: Format | None = None,
    weights: str | os.PathLike[str] = RAW,
    checkpoint: str | os.PathLike[str] | None = None,
    names: Names | None = None,
    fold: bool = False,
    preprocess: bool = False,
) -> Exported | ExportedModel | None:
    """Write a model, or its weights, to `to`. A former export there is replaced.

    Of several ranks, rank 0 alone writes. The others get None at once, and wait for nothing. One process never gets None.

    config: that of the run, `ppema.run(path)`, or the path of its folder.
    format: "paddle" writes a folder with an inference program for `paddle.inference` and `load_inference_model`, and a
    description, model.json. "onnx" writes the program as model.onnx instead; it requires paddle2onnx and onnxruntime. "hub"
    writes the folder of "paddle" with a model card, README.md. "safetensors" and "pdparams" write one file of arrays. Default:
    by the suffix of `to`.
    weights: "raw", an average's name, or the path of a file of weights (*.safetensors) of the same model. checkpoint: "last"
    (the default), "best", or a path.
    names: for files, the keys of the arrays, "variables" or "places" in the model; a variable without a place keeps its own
    name. Default: variables for safetensors, places for pdparams. Arrays from a checkpoint have the raw weights' dtypes.
    preprocess: for programs, take pictures as bytes, uint8 [N, H, W, C] of the model's size, and return probabilities.
    fold: for programs, fold every BatchNorm that alone reads a convolution or a matrix product into that product.

    A program is loaded back and compared with the model on samples of the evaluation data before it gets its name.

    Raises PpemaError for invalid arguments, CheckpointError for a missing or damaged source, ConfigError or DataError if the
    model can not be built, SetupError, and TrainingError if the export can not be written, or differs from the model by more
    than 1e-4.
    """
    if not launched_ranks().first:
        return None
    config = config_of(config)
    paddle_with(config.runtime.threads)
    from ppema.deploy import exporting

    return exporting.export(
        config, to, format=format, weights=weights, checkpoint=checkpoint, names=names, fold=fold, preprocess=preprocess
    )
