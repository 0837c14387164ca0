"""The section `board`: what a run draws in VisualDL beside its curves."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Strict

from ppema.config.section import Flag, Section, examples
from ppema.config.wording import counting

_MOST_PICTURES = 64


class Board(Section):
    """What a run draws in VisualDL at each evaluation, beside its curves. Results are the same with and without."""

    model_config = examples({"histograms": True, "confusion": False, "pictures": 16})

    histograms: Flag = Field(
        default=False,
        description="Histograms of each layer group: of weights, of their change since the evaluation before, and of the "
        "difference between averages and weights.",
    )
    confusion: Flag = Field(
        default=False, description="An image of each confusion matrix. Requires the metric confusion_matrix."
    )
    pictures: Annotated[int, Strict(), Field(ge=0, le=_MOST_PICTURES), counting("a number of pictures", 0, _MOST_PICTURES)] = (
        Field(
            default=0,
            description="An image of the first pictures of the evaluation data with their true and predicted classes. 0: none. "
            "Requires pictures as the first input, and a loss of classes.",
        )
    )
