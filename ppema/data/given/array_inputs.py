"""Inputs in memory: arrays of the caller, [N, ...] for each input of the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ppema.data.fields import as_array
from ppema.data.given.preparation import Preparation
from ppema.data.inputs import BatchTurns, InputBatch
from ppema.errors import DataError, listed
from ppema.user_code.names import did_you_mean


class ArrayInputs:
    """given: one array, for a model with one input, or arrays by the names of the inputs.

    Raises DataError for an unknown or missing name, for lengths that differ, and for no samples.
    """

    def __init__(self, given: Any, how: Preparation):
        self._how = how
        by_name = given if isinstance(given, Mapping) else dict(zip(how.names, [given], strict=False))
        if not isinstance(given, Mapping) and len(how.names) != 1:
            raise DataError(f"inputs: one array, the model takes {len(how.names)}: give a mapping of {', '.join(how.names)}")
        for name in by_name:
            if name not in how.names:
                hint = did_you_mean(str(name), how.names) or f"; the model takes {', '.join(how.names)}"
                raise DataError(f"inputs: there is no input {str(name)!r}{hint}")
        if missing := [name for name in how.names if name not in by_name]:
            raise DataError(f"inputs: the input {missing[0]!r} is missing")
        self._arrays = [as_array(by_name[name]) for name in how.names]
        lengths = {array.shape[0] if array.ndim else None for array in self._arrays}
        if lengths == {0}:
            raise DataError("inputs: there are no samples")
        if None in lengths or len(lengths) > 1:
            forms = [f"{name} {list(array.shape)}" for name, array in zip(how.names, self._arrays, strict=True)]
            raise DataError(f"inputs: the first axis counts the samples, got {listed(forms)}")

    @property
    def total(self) -> int:
        """The number of samples."""
        return len(self._arrays[0])

    def batches(self, batch_size: int, turns: BatchTurns) -> Iterator[InputBatch]:
        """See `InputSource`. Samples are named "[0]", "[1]", ..."""
        prepared = self._how.started("inputs")
        for start in filter(lambda start: turns.mine(), range(0, self.total, batch_size)):
            indices = np.arange(start, min(start + batch_size, self.total))
            rows = [array[start : start + batch_size] for array in self._arrays]
            yield prepared.batch([f"[{index}]" for index in indices], indices, rows)
