"""Paddle's files of weights, *.pdparams: pickles of a mapping from names to arrays.

`paddle.save(layer.state_dict(), file)` names the arrays by their places in the model, and adds a table of the variables' names
by place. `paddle.static.save` names the arrays by their variables. The files hold the bits of bfloat16 as uint16.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_dtypes import bfloat16

from ppema.checkpoint.tensors import Arrays, read_bytes
from ppema.errors import CheckpointError, printable
from ppema.weights.unpickle import RefusedError, read_pickle

_TABLE = "StructuredToParameterName@@"
_SLICED = "UnpackBigParamInfor@@"
_PROTOCOL = 4  # the default of paddle.save; earlier protocols are limited to 4 GiB


def read_pdparams(file: Path) -> dict[str, np.ndarray]:
    """The arrays in `file`, by their names in it. Nothing that the file names is imported or called.

    Arrays of uint16 become bfloat16. Raises CheckpointError if the file is missing, damaged, or holds more than numbers.
    """
    content = read_bytes(file)
    try:
        found = read_pickle(content)
        if type(found) is not dict:
            raise RefusedError(f"it holds {_described(found)} and no mapping of arrays by name, such as a layer's state_dict()")
        found.pop(_TABLE, None)
        _join(found, found.pop(_SLICED, {}), len(content))
        for name, value in found.items():
            if type(name) is not str:
                raise RefusedError(f"it has the key {printable(str(name))}, which is no name of an array")
            if not isinstance(value, np.ndarray):
                raise RefusedError(
                    f"'{printable(name)}' is {_described(value)} and no array: save the model's state_dict() alone, as "
                    "paddle.save(model.state_dict(), file)"
                )
    except RefusedError as error:
        raise CheckpointError(f"{file}: {error}") from error
    return {name: value.view(bfloat16) if value.dtype == np.uint16 else value for name, value in found.items()}


def pdparams(arrays: Arrays, places: Mapping[str, str] | None) -> bytes:
    """The content of a file with `arrays`. places: the variables' names by place, if the names of `arrays` are places."""
    table = {} if places is None else {_TABLE: dict(places)}
    bits = {name: array.view(np.uint16) if array.dtype == bfloat16 else array for name, array in arrays.items()}
    return pickle.dumps({**bits, **table}, protocol=_PROTOCOL)


def _join(arrays: dict[str, Any], sliced: Any, size: int) -> None:
    """Join the slices of 1 GiB in which protocols 2 and 3 save large arrays: {name: {OriginShape, slices}}.

    Every slice is checked before numpy or a hash uses it: nested lists and tuples that hold one object twice double in size at
    each level, and the file may hold one array under many names. All slices together have at most `size` bytes, the file's
    size. Raises RefusedError.
    """
    try:
        for name, each in sliced.items():
            parts = [_slice(arrays, part) for part in each["slices"]]
            if len({part.dtype for part in parts}) != 1:
                raise ValueError
            size -= sum(part.nbytes for part in parts)
            if size < 0:
                raise RefusedError("its arrays would take more memory than the file has bytes")
            arrays[name] = np.concatenate(parts).reshape(each["OriginShape"])
    except RefusedError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise RefusedError("damaged: large arrays whose slices do not fit") from error


def _slice(arrays: dict[str, Any], name: Any) -> np.ndarray:
    """Remove the slice `name` from `arrays` and return it. Raises ValueError unless it is an array of one dimension."""
    part = arrays.pop(name) if type(name) is str else None
    if not isinstance(part, np.ndarray) or part.ndim != 1:
        raise ValueError
    return part


def _described(value: Any) -> str:
    kind = "array" if isinstance(value, np.ndarray) else type(value).__name__
    size = f" of {len(value)}" if isinstance(value, (dict, list, tuple)) else ""
    return f"{'an' if kind[0] in 'aio' else 'a'} {kind}{size}"
