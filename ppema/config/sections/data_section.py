"""The section `data`: the data sets, and what holds for all of them."""

from __future__ import annotations

from pydantic import Field

from ppema.config.section import Section, examples
from ppema.config.sections.data import DataSpec


class Data(Section):
    """The data sets of training and of evaluation."""

    model_config = examples(
        {
            "train": {"name": "digits", "split": "train", "batch_size": 32, "shuffle": True},
            "eval": {"name": "digits", "split": "test", "batch_size": 256},
        }
    )

    train: DataSpec = Field(description="Training samples.")
    eval: DataSpec = Field(description="Samples for the loss and the metrics of evaluations.")
