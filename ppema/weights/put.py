"""The copy of arrays from a file or folder into the variables of a scope."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ppema.averaging.precision import fitted
from ppema.checkpoint.checkpoint import check_fits
from ppema.checkpoint.tensors import Arrays
from ppema.errors import CheckpointError
from ppema.ir import Parameter, scope


def put(where: Any, source: Path, arrays: Arrays) -> None:
    """Copy `arrays` into the scope `where` by name, with `ppema.ir.scope.put`.

    Raises CheckpointError, which names their file or folder `source`, for an unknown name, another shape or another dtype.
    """
    try:
        scope.put(where, arrays)
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{source}: {error}: it is another model's") from error


def put_fitted(where: Any, source: Path, arrays: Arrays, parameters: Sequence[Parameter]) -> None:
    """`put` the `arrays` of all of a model's `parameters`. An average of half-precision weights is rounded to their dtype.

    Raises CheckpointError also for an array too many and for one that is missing.
    """
    check_fits(source, arrays, [each.name for each in parameters])
    put(where, source, {each.name: fitted(arrays[each.name], each.dtype) for each in parameters})
