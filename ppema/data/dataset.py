"""What a data set is: an object with a length whose items can be read in any order."""

from __future__ import annotations

from typing import Any, Protocol

from ppema.errors import DataError
from ppema.user_code.blame import blamed


class Dataset(Protocol):
    """Map-style: `len(d)` samples, and `d[i]`, 0 ≤ i < len(d), the tuple (input, ..., target) of sample i.

    A field is whatever `ppema.data.fields.to_fields` accepts. Reading a sample must depend on nothing but i and on
    draws from `random` and `np.random`, which the loader seeds before each sample.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def check_dataset(dataset: Any, what: str) -> int:
    """The number of samples of `dataset`; DataError, begun with `what`, if it is not map-style or holds no sample."""
    kind = type(dataset)
    # paddle.io.IterableDataset defines both methods, to raise in them.
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
