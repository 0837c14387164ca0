"""The protocol of a data set: an object with a length whose items can be read in any order."""

from __future__ import annotations

from typing import Any, Protocol

from ppema.errors import DataError
from ppema.user_code.blame import blamed


class Dataset(Protocol):
    """Map-style: `len(d)` samples, and `d[i]`, 0 ≤ i < len(d), sample i: the tuple (input, ..., target), or, for named
    fields, a tuple in their order or a mapping by name.

    `ppema.data.fields.to_fields` lists the types that a field may have. A sample may depend only on i and on draws from
    `random` and `np.random`. The loader seeds both before each sample.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def check_dataset(dataset: Any, what: str) -> int:
    """Return the number of samples of `dataset`.

    what: the start of the message of an error. Raises DataError if `dataset` is not map-style or has no sample.
    """
    kind = type(dataset)
    # paddle.io.IterableDataset defines both methods, but they only raise.
    iterable = any(base.__name__ == "IterableDataset" for base in kind.__mro__)
    missing = [method for method in ("__len__", "__getitem__") if not hasattr(kind, method)]
    if iterable or missing:
        fault = "is an IterableDataset" if iterable else f"has no {' and no '.join(missing)}"
        raise DataError(
            f"{what}: {kind.__name__} {fault}; a data set needs __len__ and __getitem__, to be shuffled and resumed"
        )
    try:
        samples = len(dataset)
    except Exception as error:
        raise DataError(f"{what}: len({kind.__name__}): {blamed(error)}") from error
    if samples == 0:
        raise DataError(f"{what}: the data set is empty")
    return samples
