"""The section `train`: the length of a run, and its intervals."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ppema.config.duration import Duration
from ppema.config.section import Count, Count0, Section, examples
from ppema.config.sections.monitor import Monitors


class Train(Section):
    """The length of the run, and its intervals of logs, evaluations and checkpoints."""

    model_config = examples(
        {"epochs": 20, "log_every": "50 steps", "eval_every": "1 epoch", "save_every": "1 epoch", "monitor": "raw/accuracy"},
        {"epochs": 300, "stop_after": "10 epochs", "snapshot_every": "1 epoch", "keep": 5, "keep_every": "25 epochs"},
        {"epochs": 20, "monitor": ["raw/accuracy", "raw/my_score"], "mode": "max", "failed_save": "go_on", "max_skipped": 100},
    )

    epochs: Count = Field(description="Length of the run in passes over the training data. Schedules span it.")
    stop_after: Duration | None = Field(
        default=None, description="Ends the run early, with unchanged schedules. null: the run trains all epochs."
    )
    log_every: Duration = Field(default=Duration(50, "steps"), description="Interval between two lines of the log.")
    eval_every: Duration = Field(default=Duration(1, "epochs"), description="Interval between two evaluations.")
    save_every: Duration = Field(default=Duration(1, "epochs"), description="Interval between two checkpoints.")
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
        description="Whether the largest or the smallest value is best. null: min for losses and errors, max for accuracy and "
        "top5, by their names. Required for metrics of your own whose names tell neither; beside such metrics in a list, "
        "losses, errors and accuracies go by their names.",
    )

    @property
    def monitors(self) -> tuple[str, ...]:
        """`monitor` as a tuple, which may be empty."""
        return (self.monitor,) if isinstance(self.monitor, str) else self.monitor or ()
