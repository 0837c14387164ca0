"""Data: what a config's `data:` sections name, and the loader that turns it into batches in a reproducible order.

A data set is map-style: `len(d)` samples, `d[i]` a tuple of arrays whose last is the target and whose others are the
model's inputs. Nothing here imports paddle; a data set named by dotted path may.
"""

from ppema.data.dataset import Dataset
from ppema.data.fields import Field
from ppema.data.from_config import build_dataset, build_loader
from ppema.data.loader import Batch, Loader
from ppema.data.sets.arrays import ArrayDataset

__all__ = ["ArrayDataset", "Batch", "Dataset", "Field", "Loader", "build_dataset", "build_loader"]
