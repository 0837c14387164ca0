"""The section `board`: what a run draws in VisualDL beside its curves."""

from __future__ import annotations

from pydantic import Field

from ppema.config.section import Flag, Section, examples


class Board(Section):
    """What a run draws in VisualDL at each evaluation, beside its curves. Results are the same with and without."""

    model_config = examples({"histograms": True, "confusion": False})

    histograms: Flag = Field(
        default=False,
        description="Histograms of each layer group: of weights, of their change since the evaluation before, and of the "
        "difference between averages and weights.",
    )
    confusion: Flag = Field(
        default=False, description="An image of each confusion matrix. Requires the metric confusion_matrix."
    )
