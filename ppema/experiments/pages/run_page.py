"""The page of one run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ppema.config import RAW, to_yaml
from ppema.config.provenance import OVERRIDE
from ppema.config.tree.yaml_text import one_line_yaml
from ppema.errors import PpemaError
from ppema.experiments.pages.chart import Chart, Curve, draw
from ppema.experiments.pages.rendering import render
from ppema.experiments.pages.run_figures import MeasuredMetric, measured, verdict
from ppema.experiments.pages.run_processes import Process, lasting, processes, speed, warnings_of
from ppema.experiments.sweeps.sweep_folder import SWEEP, TRIALS, read_results, trial_of
from ppema.log.history import Started
from ppema.log.records import measures_of
from ppema.log.run import Run

MOST_WARNINGS = 50
COLORS = 6  # of curves; more repeat them
_SWEEP = "sweep"
# Figures of train records with a chart, and of their averages.
_TRAINING = {"loss": "loss in training", "lr": "learning rate", "gradient_norm": "norm of the gradients"}


def run_page(run: Run) -> str:
    """The page of `run`. Raises ConfigError or SetupError if its files can not be read."""
    output, config = run.path, run.config
    metrics, history = measured(run), processes(output)
    start = history[-1].start if history else None
    said = warnings_of(output)
    return render(
        "run.html",
        name=name_of(output),
        output=str(output),
        state=state_of(history, bool(run.records.train)),
        verdict=verdict(metrics),
        metrics=metrics,
        step=max((each["step"] for each in (*run.records.train, *run.records.evaluations)), default=0),
        lasted=lasting(history),
        trained=max((each.get("seconds") or 0 for each in run.records.train), default=0),
        speed=speed(run),
        styles=style_of(metrics),
        charts=evaluation_charts(metrics),
        training=_training_charts(run.records.train, style_of(metrics)),
        matrices=_matrices(run),
        history=history,
        start=start,
        origins=origins_of(output, start),
        config=to_yaml(config),
        warnings=said[:MOST_WARNINGS],
        more_warnings=len(said) - MOST_WARNINGS,
        commands=commands_of(output, start),
    )


def name_of(output: Path) -> str:
    """The name of a run or a sweep: that of its folder."""
    return os.path.basename(os.path.abspath(output))


def state_of(history: Sequence[Process], trained: bool) -> str:
    """The state of a run in words. trained: whether it has records of training."""
    if history:
        return history[-1].ended
    return "done, or ended early" if trained else "not trained yet"


def style_of(metrics: Sequence[MeasuredMetric]) -> dict[str, str]:
    """The style of the curves of each set of weights, the same in all charts."""
    averages = dict.fromkeys(weights for metric in metrics for weights in metric.curves if weights != RAW)
    return {RAW: "raw"} | {name: f"c{index % COLORS + 1}" for index, name in enumerate(averages)}


def evaluation_charts(metrics: Sequence[MeasuredMetric]) -> list[Chart]:
    """A chart for each metric, with a curve for each set of weights."""
    styles = style_of(metrics)
    found = []
    for index, metric in enumerate(metrics):
        curves = [
            Curve(weights, xs, ys, styles[weights], label=weights)
            # The raw weights come first, below the averages.
            for weights, (xs, ys) in sorted(metric.curves.items(), key=lambda each: each[0] != RAW)
        ]
        found.append(draw(f"metric{index}", metric.name, "epoch", curves))
    return [chart for chart in found if chart is not None]


def _training_charts(records: Sequence[Mapping[str, Any]], styles: Mapping[str, str]) -> list[Chart]:
    epochs = [record["epoch"] for record in records]
    found = [
        draw(f"train{index}", title, "epoch", [Curve(title, epochs, [each.get(key) for each in records], "train")])
        for index, (key, title) in enumerate(_TRAINING.items())
    ]
    averages = dict.fromkeys(name for record in records for name in record.get("health", {}))
    for figure, title in (("window", "window of the averages, in steps"), ("distance", "distance from the raw weights")):
        curves = [
            Curve(
                name,
                epochs,
                [record.get("health", {}).get(name, {}).get(figure) for record in records],
                styles.get(name, f"c{index % COLORS + 1}"),
                label=name,
            )
            for index, name in enumerate(averages)
        ]
        found.append(draw(figure, title, "epoch", curves))
    return [chart for chart in found if chart is not None]


def _matrices(run: Run) -> list[dict[str, Any]]:
    """The last confusion matrix of each set of weights, with rows of labels: its title, names and rows of (count, share)."""
    found = {}
    for record in run.records.evaluations:
        numbers = {*measures_of(record), "kind", "step", "epoch", "weights"}
        for name, value in record.items():
            if name not in numbers and _is_square(value) and len(value) <= 20:
                found[name, record["weights"]] = (record["step"], value)
    names = run.config.data.classes
    return [
        {
            "title": f"{name} with {weights}, after step {step}",
            "names": names if names and len(names) == len(rows) else [str(index) for index in range(len(rows))],
            "rows": [[(each, round(9 * (each or 0) / max(sum(filter(None, row)), 1))) for each in row] for row in rows],
        }
        for (name, weights), (step, rows) in found.items()
    ]


def _is_square(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(row, list) and len(row) == len(value) for row in value)
        and all((isinstance(each, (int, float)) and each >= 0) or each is None for row in value for each in row)
    )


def origins_of(output: Path, start: Started | None, swept: Iterable[str] = ()) -> list[tuple[str, str, str]]:
    """The key, the value as YAML, and the origin of each key that is no default. swept: keys that a sweep sets."""
    if start is None:
        return []
    keys = {*swept, *_swept(output)}
    return [
        (each.key, one_line_yaml(each.value), _SWEEP if each.place == OVERRIDE and is_below(each.key, keys) else each.place)
        for each in start.origins
    ]


def is_below(key: str, keys: Iterable[str]) -> bool:
    """Whether `key` is one of `keys`, or below one: the short form `lr` stands for lr.args.learning_rate."""
    return any(key == each or key.startswith(f"{each}.") for each in keys)


def _swept(output: Path) -> list[str]:
    """The keys that the sweep sets of which the run in `output` is a trial, if it is one."""
    trials = Path(os.path.abspath(output)).parent
    if trials.name != TRIALS or trial_of(output) is None or not (trials.parent / SWEEP).is_file():
        return []
    try:
        return list(read_results(trials.parent).over)
    except PpemaError:
        return []


def commands_of(output: Path, start: Started | None) -> dict[str, list[str]]:
    """The arguments of commands by purpose, without the names of options: the config, and the overrides."""
    if start is None or start.config is None:
        return {"config": [str(output / "config.yml")], "overrides": []}
    kept = [each for each in start.overrides if each.partition("=")[0].strip() != "output"]
    return {"config": [start.config], "overrides": kept}
