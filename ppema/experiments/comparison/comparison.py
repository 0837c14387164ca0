"""The result of a comparison, and its forms: text, Markdown, CSV, plain data and a figure."""

from __future__ import annotations

import csv
import io
import os
import textwrap
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ppema.errors import escaped
from ppema.experiments.comparison.compared_rows import ComparedRow, Contrast
from ppema.experiments.comparison.gathering import RunGroup
from ppema.experiments.comparison.group_curves import draw_groups
from ppema.experiments.comparison.tables import contrast_table, figure_table, settings_table, target_table
from ppema.experiments.comparison.text_table import FoldedTable

if TYPE_CHECKING:
    from ppema.experiments.comparison.sample_intervals import SampleIntervals

WhichEvaluation = Literal["last", "best"]
# The columns of `Comparison.csv`. seconds: of training; the last two are those of the first evaluation that reached the target.
CSV_HEAD = ("group", "run", "seed", "fold", "finished", "weights", "metric", "value", "step", "epoch", "seconds")
CSV_TARGET = ("steps_to_target", "seconds_to_target")


@dataclass(frozen=True)
class Comparison:
    """The result of `compare`.

    metrics: those that are compared; the first one decides about target, contrasts and figure. less_is_better: by metric, None
    if unknown. settings: by key of the config, the values by group, where they differ; a group without the key has none.
    samples: intervals over the evaluation samples, if they were asked for.
    """

    metrics: tuple[str, ...]
    less_is_better: dict[str, bool | None]
    objective: WhichEvaluation
    target: float | None
    groups: tuple[RunGroup, ...]
    rows: tuple[ComparedRow, ...]
    settings: dict[str, dict[str, Any]]
    contrasts: tuple[Contrast, ...]
    notes: tuple[str, ...]
    samples: SampleIntervals | None = None

    def best(self, metric: str) -> float | None:
        """The best mean of `metric` over the rows; None if its direction is unknown, or if no mean is finite."""
        less = self.less_is_better[metric]
        means = [mean for row in self.rows if (mean := row.figure(metric).mean) is not None]
        return None if less is None or not means else min(means) if less else max(means)

    def tables(self) -> list[FoldedTable]:
        """The tables of the text and of Markdown."""
        spread = ", mean ± standard deviation over runs" if any(len(row.runs) > 1 for row in self.rows) else ""
        when = "of the last evaluation" if self.objective == "last" else f"of the evaluation with the best {self.metrics[0]}"
        best = {metric: self.best(metric) for metric in self.metrics}
        found = [figure_table(self.rows, self.metrics, best, f"Figures {when}{spread}")]
        if self.target is not None:
            sign = "<=" if self.less_is_better[self.metrics[0]] else ">="
            title = f"Training until the first evaluation with {self.metrics[0]} {sign} {self.target:g}{spread}"
            found.append(target_table(self.rows, title))
        if any(each.test.p is not None or each.test.exact is not None for each in self.contrasts):
            found.append(contrast_table(self.contrasts, self.metrics[0], f"Differences of {self.metrics[0]}, paired by seed"))
        if self.samples is not None:
            found += self.samples.tables()
        if self.settings:
            found.append(
                settings_table(self.settings, [group.name for group in self.groups], "Keys of the configs that differ")
            )
        return found

    def text(self, width: int = 80) -> str:
        """All of it as text of at most `width` columns. Wide tables are split into blocks, and nothing is cut."""
        said = (f"note: {escaped(note)}" for note in self.notes)
        notes = [textwrap.fill(note, width, subsequent_indent="  ", break_on_hyphens=False) for note in said]
        return "\n\n".join([*(table.text(width) for table in self.tables()), *(["\n".join(notes)] if notes else [])])

    def markdown(self) -> str:
        """All of it as tables of Markdown, with a list of notes."""
        notes = [f"- {escaped(note)}" for note in self.notes]
        return "\n\n".join([*(table.markdown() for table in self.tables()), *(["\n".join(notes)] if notes else [])])

    def csv(self) -> str:
        """The values in full precision as CSV, a row for each run, set of weights and metric. A missing value is empty."""
        written = io.StringIO()
        writer = csv.writer(written, lineterminator="\n")
        writer.writerow([*CSV_HEAD, *(CSV_TARGET if self.target is not None else ())])
        for row in self.rows:
            for run in row.runs:
                reached = () if self.target is None else (run.reached and run.reached.step, run.reached and run.reached.seconds)
                for metric in self.metrics:
                    place = (row.group, run.name, run.seed, run.fold, str(run.is_finished).lower(), row.weights, metric)
                    at = run.at
                    writer.writerow([*place, at.figures.get(metric), at.step, at.epoch, at.seconds, *reached])
        return written.getvalue()

    def plain(self) -> dict[str, Any]:
        """All of it as plain data for JSON: the fields, and means and spreads in the rows."""
        return {
            "metrics": list(self.metrics),
            "less_is_better": self.less_is_better,
            "objective": self.objective,
            "target": self.target,
            "groups": [{"name": group.name, "runs": [run.name for run in group.runs]} for group in self.groups],
            "rows": [self._plain_row(row) for row in self.rows],
            "settings": self.settings,
            "contrasts": [
                {
                    "group": each.row.group,
                    "weights": each.row.weights,
                    "before": {"group": each.before.group, "weights": each.before.weights},
                    "metric": self.metrics[0],
                    **asdict(each.test),
                    "adjusted": each.adjusted,
                }
                for each in self.contrasts
            ],
            "notes": list(self.notes),
            **({} if self.samples is None else {"samples": self.samples.plain()}),
        }

    def _plain_row(self, row: ComparedRow) -> dict[str, Any]:
        found = {
            "group": row.group,
            "weights": row.weights,
            "runs": [
                {"run": run.name, "seed": run.seed, "fold": run.fold, "finished": run.is_finished, "step": run.at.step}
                for run in row.runs
            ],
            "figures": {metric: asdict(row.figure(metric)) for metric in self.metrics},
        }
        if self.target is not None:
            names = [run.name for run in row.reaching]
            found["target"] = {"runs": names, "steps": asdict(row.steps_to_target), "seconds": asdict(row.seconds_to_target)}
        return found

    def draw(self, file: str | os.PathLike[str]) -> None:
        """Draw the first metric over epochs as an image at `file`: the means over runs, with their spread as bands.

        Raises DataError if it can not be written.
        """
        draw_groups(self.groups, [row.weights for row in self.rows], self.metrics[0], Path(file))
