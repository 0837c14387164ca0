"""Evaluation: the mean of every measure of a test program over a whole data set, exactly."""

from __future__ import annotations

import numpy as np

from ppema.data import Loader
from ppema.errors import TrainingError
from ppema.programs.eval_program import TestProgram
from ppema.programs.executor import Executor
from ppema.programs.inputs import Inputs


def evaluate(executor: Executor, test: TestProgram, inputs: Inputs, loader: Loader) -> dict[str, float]:
    """Run `test` over `loader` in the current scope; returns each measure's mean over all samples.

    Each batch counts by its size, in float64, so that the batch size changes no mean. Changes no variable of the scope.
    Raises TrainingError for a measure that has neither one value per sample nor one for the batch.
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
            # A loss of one value is the mean over its batch: either way the mean stands for `size` samples.
            totals[name] += float(np.asarray(value, dtype=np.float64).mean()) * size
        samples += size
    return {name: total / samples for name, total in totals.items()}
