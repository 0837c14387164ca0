"""Data sets of tests, at module level so that worker processes can import them. Only WithPaddle imports paddle."""

from __future__ import annotations

import os
import random
import time

import numpy as np


class Squares:
    """Inputs float32 [2], (i, i²), and targets i. Sample `raise_at` raises, and sample `die_at` ends its process."""

    def __init__(self, samples: int = 10, raise_at: int = -1, die_at: int = -1, seconds: float = 0.0):
        self.samples, self.raise_at, self.die_at, self.seconds = samples, raise_at, die_at, seconds
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int):
        assert type(index) is int
        self.read.append(index)
        time.sleep(self.seconds)
        if index == self.raise_at:
            raise ValueError("no such\n  picture")
        if index == self.die_at:
            os._exit(3)
        return np.array([index, index**2], np.float32), index


class BothGenerators:
    """Inputs drawn from the global generators of Python and numpy."""

    def __len__(self) -> int:
        return 11

    def __getitem__(self, index: int):
        return (random.random(), np.random.random()), index


class Readers:
    """The number of the process that reads the sample."""

    def __len__(self) -> int:
        return 11

    def __getitem__(self, index: int):
        return np.array(os.getpid(), np.int64), index


class Interrupting:
    """A data set whose sample 3 raises KeyboardInterrupt."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int):
        if index == 3:
            raise KeyboardInterrupt
        return 0.5, index


class OpensOnce:
    """A data set that can be pickled but not unpickled, like a file that only one process may open."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int):
        return 0.5, index

    def __setstate__(self, state) -> None:
        raise OSError("locked by another\nprocess")

    def __getstate__(self):
        return {"some": "state"}


class WithPaddle:
    """A data set that imports paddle when it is unpickled. Inputs float64 [2]: a dot product by BLAS, and OMP_NUM_THREADS."""

    def __init__(self):
        self.long = np.random.default_rng(0).random((2, 1_000_000))

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int):
        return np.array([self.long[0] @ self.long[1], float(os.environ["OMP_NUM_THREADS"])]), index

    def __getstate__(self):
        return vars(self)

    def __setstate__(self, state) -> None:
        import paddle  # noqa: F401

        vars(self).update(state)


class Vectors:
    """16 samples [4] drawn from numpy's global generator."""

    def __len__(self):
        return 16

    def __getitem__(self, index):
        return np.random.normal(size=4).astype("float32"), np.int64(index % 2)


class Images:
    """40 images [1, 8, 8] of three classes, drawn from numpy's global generator."""

    def __len__(self):
        return 40

    def __getitem__(self, index):
        return np.random.normal(size=(1, 8, 8)).astype("float32"), np.int64(index % 3)


class Breaks:
    """A data set that raises at sample `at`."""

    def __init__(self, at: int):
        self.at = at

    def __len__(self):
        return 40

    def __getitem__(self, index):
        if index == self.at:
            raise OSError("the disk\nis gone")
        return np.full(4, index, "float32"), np.int64(index % 2)


class Labels:
    """40 samples with label 0, except sample `at`, with label `label`."""

    def __init__(self, at: int, label: int):
        self.at, self.label = at, label

    def __len__(self):
        return 40

    def __getitem__(self, index):
        return np.full(4, index, "float32"), np.int64(self.label if index == self.at else 0)


class Empty:
    def __len__(self):
        return 0

    def __getitem__(self, index):
        raise IndexError


class Dies:
    """A data set that ends its process at sample 5."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        if index == 5:
            os._exit(7)
        return np.zeros(4, "float32"), np.int64(0)


class Texts:
    """Mappings of tokens 1 ... 9, of 1 to 12 tokens, the first of which is the label plus 1, and the label, 0 or 1."""

    def __init__(self, samples: int, seed: int = 0):
        self.samples, self.seed = samples, seed

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int):
        draw = np.random.default_rng([self.seed, index])
        label = int(draw.integers(2))
        return {"label": label, "tokens": [label + 1, *draw.integers(1, 10, draw.integers(12))], "id": f"text {index}"}


class Listed:
    """The samples of a list."""

    def __init__(self, *samples):
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int):
        return self.samples[index]


class Stream:
    """An iterator without random access."""

    def __iter__(self):
        return iter([(0.5, 1)])


class IterableDataset:
    """A data set whose two methods raise, like those of paddle.io.IterableDataset."""

    def __len__(self) -> int:
        raise RuntimeError("'__len__' should not be called for IterableDataset")

    def __getitem__(self, index: int):
        raise RuntimeError("'__getitem__' should not be called for IterableDataset")


class Files:
    """A data set that reads the list of its samples from a file."""

    def __init__(self, root: str = "pictures", other: str = ""):
        with open(f"{root}/list.txt") as lines:
            self.samples = list(lines)


def refusing(reason: str):
    """A constructor that raises, with `reason`."""
    raise RuntimeError(f"{reason}\non two lines")


class TwoTargets:
    """Mappings of two inputs and two targets: a class of three and a number."""

    def __init__(self, samples: int = 12):
        rng = np.random.default_rng(samples)
        self.image = rng.normal(size=(samples, 4)).astype(np.float32)
        self.scale = rng.uniform(0.5, 2, samples).astype(np.float32)

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, index: int):
        image, scale = self.image[index], self.scale[index]
        return {"scale": scale, "image": image, "size": np.float32(image.sum()), "kind": int(image.argmax()) % 3, "name": "x"}


class OneLargeToken:
    """Twelve samples of four tokens, all 1 but for a 99 in sample `at`, with the target 0."""

    def __init__(self, at: int):
        self.at = at

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int):
        tokens = np.ones(4, np.int64)
        if index == self.at:
            tokens[2] = 99
        return tokens, 0


class WithNan:
    """Inputs float32 [3] and numbers as targets. Sample 5 holds a NaN, and target 7 is infinite."""

    def __init__(self, bad_input: bool = True):
        self.bad_input = bad_input

    def __len__(self) -> int:
        return 9

    def __getitem__(self, index: int):
        values = np.array([0.5, np.nan if self.bad_input and index == 5 else 3e38, 3e38], np.float32)
        return values, np.float32(-np.inf if index == 7 else 1)


class Blocks(Images):
    """Images whose samples take minutes while the file `flag` exists."""

    def __init__(self, flag: str):
        self.flag = flag

    def __getitem__(self, index):
        if os.path.exists(self.flag):
            time.sleep(300)
        return super().__getitem__(index)
