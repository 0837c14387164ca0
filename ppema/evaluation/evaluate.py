"""Evaluation: the exact mean of every measure of a test program over a whole data set."""

from __future__ import annotations

import numpy as np

from ppema.data import Loader
from ppema.errors import TrainingError
from ppema.programs.eval_program import TestProgram
from ppema.programs.executor import Executor
from ppema.programs.inputs import Inputs


def evaluate(executor: Executor, test: TestProgram, inputs: Inputs, loader: Loader) -> dict[str, float]:
    """Run `test` over `loader` in the current scope; returns each measure's mean over all samples.

    Batches are weighted by their size, in float64, so the mean does not depend on the batch size. No variable of the scope
    changes. Raises TrainingError for a measure with neither one value per sample nor one value per batch.
    """
    totals = dict.fromkeys(test.measures, 0.0)
    samples = 0
    for batch in loader.epoch(0):
        size = len(batch.indices)
        values = executor.run(test.program, inputs.feed(batch, loader), list(test.measures.values()))
        for name, value in zip(totals, values, strict=True):
            if value.size not in (1, size):
                raise TrainingError(
                    f"evaluation: {name} has {value.size} values for a batch of {size} samples: return one value per sample"
                )
            # A loss of one value is the mean over its batch, so in both cases the mean has the weight `size`.
            totals[name] += float(np.asarray(value, dtype=np.float64).mean()) * size
        samples += size
    return {name: total / samples for name, total in totals.items()}
