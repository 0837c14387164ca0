"""The section `train`: the length of a run, and its intervals."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ppema.config.duration import Duration
from ppema.config.section import Count, Count0, Flag, Section, Text, examples
from ppema.config.sections.early_stop import EarlyStop
from ppema.config.sections.monitor import Monitors
from ppema.config.wording import faults
from ppema.errors import Path


class Train(Section):
    """The length of the run, and its intervals of logs, evaluations and checkpoints."""

    model_config = examples(
        {"epochs": 20, "log_every": "50 steps", "eval_every": "1 epoch", "save_every": "1 epoch", "monitor": "raw/accuracy"},
        {
            "epochs": 300,
            "accumulate": 4,
            "stop_after": "10 epochs",
            "snapshot_every": "1 epoch",
            "keep": 5,
            "keep_every": "25 epochs",
        },
        {"epochs": 20, "monitor": ["raw/accuracy", "raw/my_score"], "mode": "max", "failed_save": "go_on", "max_skipped": 100},
        {"steps": 10000, "monitor": "ema/accuracy", "early_stop": {"patience": 5}, "evaluate": ["ema"], "log_norms": True},
    )

    epochs: Count | None = Field(
        default=None,
        description="Length of the run in passes over the training data. Schedules span it. Required, unless `steps` is given.",
    )
    steps: Count | None = Field(
        default=None, description="Length of the run in optimizer steps, in place of `epochs`. The last epoch may be cut short."
    )
    accumulate: Count = Field(
        default=1,
        description="Micro-batches in an optimizer step: their gradients are averaged. `data.train.batch_size` is the size of "
        "one. The last step of an epoch may take fewer. Steps in durations, schedules and logs are optimizer steps.",
    )
    stop_after: Duration | None = Field(
        default=None, description="Ends the run early, with unchanged schedules. null: the run trains to its end."
    )
    log_every: Duration = Field(
        default=Duration(50, "steps"),
        description="Interval between two lines of log.txt with the loss, each followed by the health of the averages.",
    )
    log_norms: Flag = Field(
        default=False,
        description="Whether the log has the norms of the gradient (before clipping), of the weights and of their update, for "
        "the last step of each interval.",
    )
    eval_every: Duration = Field(default=Duration(1, "epochs"), description="Interval between two evaluations.")
    save_every: Duration = Field(default=Duration(1, "epochs"), description="Interval between two checkpoints.")
    evaluate: tuple[Text, ...] | None = Field(
        default=None,
        description="Weights that are evaluated: raw and names of averages. Metrics of others can not be monitored. null: all.",
    )
    snapshot_every: Duration | None = Field(
        default=None,
        description="Interval between two snapshots of the averages with `sigma_rel`. `average` builds averages of "
        "other lengths from them. null: no snapshots.",
    )
    keep: Count = Field(default=3, description="Number of newest checkpoints to keep. The best ones are kept as well.")
    keep_every: Duration | None = Field(
        default=None,
        description="Keeps the first checkpoint of every interval of this length, except the first interval. null: none.",
    )
    failed_save: Literal["end", "go_on"] = Field(
        default="end",
        description="Reaction to a checkpoint or record that can not be written (full disk, permissions). end: the run ends. "
        "go_on: it warns, and tries again at the next save.",
    )
    max_skipped: Count0 | None = Field(
        default=10,
        description="Steps that may be skipped for a non-finite loss, gradient or BatchNorm statistic. One more ends the run. "
        "null: no limit.",
    )
    monitor: Monitors = Field(
        default=None,
        description="`<weights>/<metric>` that selects the best checkpoint; weights are raw or the name of an average. With a "
        "list, each has its best checkpoint, and 'best' is that of the first. null: no best checkpoint.",
    )
    mode: Literal["max", "min"] | None = Field(
        default=None,
        description="Whether the largest or the smallest value is best. null: by the metric's name: min for losses, "
        "errors and perplexity, max for accuracy and all other metrics of ppema. Required for metrics of your own whose names "
        "tell neither; beside such metrics in a list, all others go by their names.",
    )
    early_stop: EarlyStop | None = Field(
        default=None, description="Ends a run whose monitored metric does not improve any more. null: never."
    )

    @property
    def monitors(self) -> tuple[str, ...]:
        """`monitor` as a tuple, which may be empty."""
        return (self.monitor,) if isinstance(self.monitor, str) else self.monitor or ()

    @property
    def stops_by(self) -> str | None:
        """The metric that ends the run early, "<weights>/<metric>". None: `early_stop` is null."""
        return self.early_stop and (self.early_stop.monitor or self.monitors[0])

    @property
    def watched(self) -> tuple[str, ...]:
        """The metrics whose values decide something: those of `monitor`, and that of `early_stop`."""
        return tuple(dict.fromkeys([*self.monitors, *([self.stops_by] if self.stops_by else [])]))

    def evaluates(self, weights: str) -> bool:
        """Whether these weights are evaluated."""
        return self.evaluate is None or weights in self.evaluate

    @model_validator(mode="after")
    def _one_length_and_measured_monitors(self) -> Train:
        found: list[tuple[Path, str]] = []
        if (self.epochs is None) == (self.steps is None):
            got = "neither" if self.epochs is None else "both: set one of them to null"
            found.append(((), f"expected epochs or steps, the length of the run; got {got}"))
        if self.evaluate is not None and not self.evaluate:
            found.append((("evaluate",), "expected at least one name of weights, got []; null evaluates all"))
        elif self.evaluate is not None and len(set(self.evaluate)) < len(self.evaluate):
            found.append((("evaluate",), "some weights are listed twice"))
        several = not isinstance(self.monitor, str)
        monitors: list[tuple[Path, str | None]] = [
            (("monitor", index) if several else ("monitor",), each) for index, each in enumerate(self.monitors)
        ]
        if self.early_stop is not None:
            monitors.append((("early_stop", "monitor"), self.early_stop.monitor))
            if self.early_stop.monitor is None and not self.monitors:
                found.append((("early_stop", "monitor"), "required, as train.monitor is null"))
        for path, monitor in monitors:
            weights = (monitor or "").partition("/")[0]
            if monitor and not self.evaluates(weights):
                found.append((path, f"{weights!r} is not evaluated: add it to train.evaluate"))
        if found:
            raise faults(found)
        return self
