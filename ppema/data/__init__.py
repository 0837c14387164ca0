"""Data sets, and the loader that reads them in batches in a reproducible order.

A config's `data:` sections name the data sets. A data set is map-style: `len(d)` is the number of samples, and `d[i]` is a
tuple of arrays, or a mapping of named arrays. The config names inputs and targets; without names, the last array of a tuple is
the target. This room does not import paddle, but a data set named by dotted path may.
"""

from ppema.data.dataset import Dataset
from ppema.data.fields import Field, FieldNames
from ppema.data.from_config import build_dataset, build_layout, build_loader
from ppema.data.layout import Layout, LayoutError
from ppema.data.loader import Batch, Loader
from ppema.data.prefetch import GivenUp, never
from ppema.data.sets.arrays import ArrayDataset

__all__ = [
    "ArrayDataset",
    "Batch",
    "Dataset",
    "Field",
    "FieldNames",
    "GivenUp",
    "Layout",
    "LayoutError",
    "Loader",
    "build_dataset",
    "build_layout",
    "build_loader",
    "never",
]
