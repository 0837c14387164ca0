"""Arrays of a file or folder put into the variables of a scope."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ppema.checkpoint.tensors import Arrays
from ppema.errors import CheckpointError
from ppema.ir import scope


def put(where: Any, source: Path, arrays: Arrays) -> None:
    """`scope.put`, whose refusals are the fault of the file or folder that the arrays come from."""
    try:
        scope.put(where, arrays)
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{source}: {error}: it is another model's") from error
