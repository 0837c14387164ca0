"""Reads NumPy's .npz archives: named arrays whose first axis counts the samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ppema.data.fields import FieldNames
from ppema.data.sets.arrays import ArrayDataset
from ppema.data.sets.files import existing_file
from ppema.errors import DataError, one_line
from ppema.user_code.names import did_you_mean


def npz(path: str, inputs: Sequence[str], targets: Sequence[str]) -> ArrayDataset:
    """The arrays named `inputs` and `targets`, in that order, each [N, ...]; `fields.convert` sets the dtypes.

    Nothing is unpickled. Raises MissingError for a missing file. Raises DataError, which names the file, if it is not an
    archive, if an array is absent (the message lists the present ones) or holds Python objects, and for unequal lengths or no
    samples.
    """
    found = existing_file(path)
    try:
        archive = np.load(found, allow_pickle=False)
    except ValueError as error:
        # numpy takes any file of another format for a pickle, and advises to load it unsafely.
        raise DataError(f"{path}: it is no .npz archive, which numpy.savez writes") from error
    except Exception as error:
        raise DataError(f"{path}: not an .npz archive: {one_line(error)}") from error
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise DataError(f"{path}: a single array; expected an .npz archive with named arrays")
    with archive:
        arrays = [_member(archive, name, path) for name in (*inputs, *targets)]
    return ArrayDataset(arrays, path, FieldNames(tuple(inputs), tuple(targets)))


def _member(archive: np.lib.npyio.NpzFile, name: str, path: str) -> np.ndarray:
    if name not in archive.files:
        meant = did_you_mean(name, archive.files) or f"; known: {', '.join(archive.files) or 'none'}"
        raise DataError(f"{path}: no array '{name}'{meant}")
    try:
        return archive[name]
    except Exception as error:
        raise DataError(f"{path}: array '{name}': {one_line(error)}") from error
