"""The copy of arrays from a file or folder into the variables of a scope."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ppema.checkpoint.tensors import Arrays
from ppema.errors import CheckpointError
from ppema.ir import scope


def put(where: Any, source: Path, arrays: Arrays) -> None:
    """Copy `arrays` into the scope `where` by name, with `ppema.ir.scope.put`.

    Raises CheckpointError, which names their file or folder `source`, for an unknown name, another shape or another dtype.
    """
    try:
        scope.put(where, arrays)
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{source}: {error}: it is another model's") from error
