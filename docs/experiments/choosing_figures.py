"""The tables and figures of docs/choosing.md: many averages of two runs on Fashion-MNIST.

    python docs/experiments/choosing_figures.py

Trains configs/fashion_averages.yml on one thread twice, at a constant learning rate and with a cosine schedule, into
runs/choosing; evaluates policies for BatchNorm, searches the length post hoc, and prints and draws what it found. That takes
three quarters of an hour; what is trained already is trained no more.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# In place of this folder.
sys.path[0] = str(ROOT)

import matplotlib as mpl  # noqa: E402

mpl.use("Agg")

from matplotlib import pyplot  # noqa: E402

from ppema.config import Config, load_config  # noqa: E402
from ppema.environment import choose_threads, load_paddle  # noqa: E402

FIGURES = ROOT / "docs/figures"
RUNS = {
    "constant": (),
    "cosine": ("lr={name: CosineAnnealingDecay, args: {learning_rate: 0.1, T_max: 100 %}, warmup: 200 steps}",),
}
DRAWN = {
    "raw": "raw weights",
    "short": "decay 0.99",
    "ema": "decay 0.999",
    "long": "decay 0.9999",
    "mean": "mean of the last half",
}
BETWEEN, POINTS = "0.02,0.25", 11


def trained(name: str) -> Config:
    """The config of the run `name`, once it is over."""
    from ppema.training.loop import train

    overrides = [f"output=runs/choosing/{name}", "runtime.threads=1", *RUNS[name]]
    config = load_config(ROOT / "configs/fashion_averages.yml", overrides)
    train(config)
    return config


def draw_epochs(configs: dict[str, Config]) -> None:
    """Accuracy against epochs, a panel for each run."""
    from ppema.log.records import read_metrics

    figure, panels = pyplot.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for axes, (name, config) in zip(panels, configs.items(), strict=True):
        records = [each for each in read_metrics(Path(str(config.output))) if each["kind"] == "eval"]
        for weights, label in DRAWN.items():
            points = [(each["epoch"], each["accuracy"]) for each in records if each["weights"] == weights]
            style = {"color": "0.4", "linewidth": 1, "zorder": 5} if weights == "raw" else {"linewidth": 2}
            axes.plot(*zip(*points, strict=True), label=label, **style)
        axes.set(title=f"{name} learning rate", xlabel="epoch", ylim=(0.8, 0.91))
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("accuracy on the test set")
    panels[0].legend(frameon=False, loc="lower right")
    figure.savefig(FIGURES / "fashion_accuracy.png", dpi=110)
    pyplot.close(figure)


def draw_lengths(configs: dict[str, Config]) -> None:
    """The loss against σ_rel at the end of each run, with BatchNorm's statistics averaged and recalibrated."""
    from ppema.api import average

    figure, panels = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for axes, (name, config) in zip(panels, configs.items(), strict=True):
        for batches, label in ((0, "statistics averaged"), (50, "statistics recalibrated")):
            report = average(
                config, search="grid", between=BETWEEN, points=POINTS, metric="loss", recalibrate_batches=batches
            ).report
            axes.plot(
                [row.length for row in report.rows], [row.metrics["loss"] for row in report.rows], marker="o", label=label
            )
            best = report.best
            assert best is not None
            print(f"| {name}, {label} | {best.name} | {best.metrics['loss']:.4f} | {best.metrics['accuracy']:.4f} |")
        axes.set(title=f"{name} learning rate", xlabel="σ_rel", xscale="log")
        axes.set_xticks([0.02, 0.05, 0.1, 0.25], ["0.02", "0.05", "0.1", "0.25"])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("loss on the test set")
    panels[0].legend(frameon=False)
    figure.savefig(FIGURES / "fashion_lengths.png", dpi=110)
    pyplot.close(figure)


def print_ends(configs: dict[str, Config]) -> None:
    """Accuracy of every set of weights at the end of each run."""
    from ppema.api import evaluate
    from ppema.log.records import read_metrics

    ends = {name: evaluate(config) for name, config in configs.items()}
    for weights in ends["constant"]:
        print(f"| {weights} | " + " | ".join(f"{ends[name][weights]['accuracy']:.4f}" for name in configs) + " |")
    records = read_metrics(Path(str(configs["constant"].output)))
    for each in (each for each in records if each["kind"] == "eval" and each["epoch"] == 2):
        print(f"{each['weights']} after two epochs at a constant rate: {each['accuracy']:.4f}")
    for weights in ("raw", "short", "ema", "long"):
        found = evaluate(configs["constant"], weights, batch_norm="all")
        print(f"| {weights} | " + " | ".join(f"{each['accuracy']:.4f}" for each in found.values()) + " |")


def main() -> None:
    choose_threads(1)
    load_paddle()
    configs = {name: trained(name) for name in RUNS}
    print_ends(configs)
    draw_epochs(configs)
    draw_lengths(configs)


if __name__ == "__main__":
    main()
