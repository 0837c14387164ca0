"""Running a program, with Paddle's reports of many lines told in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ppema.errors import TrainingError, one_line
from ppema.ir import Program, Variable


def execute(executor: Any, program: Program, feed: Mapping[str, np.ndarray], fetch: Sequence[Variable]) -> list[np.ndarray]:
    """Run `program` once in the current scope; returns the fetched arrays. Raises TrainingError when an operation fails."""
    try:
        return executor.run(program, feed=dict(feed), fetch_list=list(fetch))
    except Exception as error:
        raise TrainingError(f"an operation failed: {one_line(error)}") from error
