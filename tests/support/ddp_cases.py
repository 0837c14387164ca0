"""Short runs of three ranks that PyTorch's DistributedDataParallel trains, too: their data, first weights and settings.

tests/peers/record_ddp.py trains them with torch, and tests/peers/test_ddp.py with ppema. Parts of a batch have different sizes.
Without `norm`, the last batch of an epoch has one sample, so that two ranks have none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RANKS, FEATURES, WIDTH, CLASSES = 3, 4, 3, 5
CLASS_WEIGHTS = (2.0, 0.25, 1.0, 4.0, 0.0)


@dataclass(frozen=True)
class DdpCase:
    """A run. samples, batch: of an epoch, and of a micro-batch; accumulate: micro-batches of a step; lr: a constant rate."""

    optimizer: str
    lr: float = 0.125
    weight_decay: float = 0.0
    clip_norm: float | None = None
    class_weights: tuple[float, ...] | None = None
    norm: bool = False
    samples: int = 29
    batch: int = 7
    accumulate: int = 1
    epochs: int = 6


CASES = {
    "uneven": DdpCase("Momentum", weight_decay=2**-6),
    "weights": DdpCase("SGD", class_weights=CLASS_WEIGHTS),
    "accumulated": DdpCase("AdamW", lr=2**-6, weight_decay=2**-4, clip_norm=0.125, accumulate=3, epochs=12),
    "weights_accumulated": DdpCase("Momentum", class_weights=CLASS_WEIGHTS, clip_norm=0.5, accumulate=2, epochs=8),
    "norm": DdpCase("Momentum", samples=28, batch=14, norm=True, epochs=15),
}


def samples_of(case: DdpCase) -> tuple[np.ndarray, np.ndarray]:
    """float32 [samples, FEATURES] and int64 [samples]."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, CLASSES, case.samples)
    centres = rng.integers(-64, 65, (CLASSES, FEATURES))
    return ((centres[labels] + rng.integers(-64, 65, (case.samples, FEATURES))) / 64).astype("float32"), labels


def first_weights(case: DdpCase) -> dict[str, np.ndarray]:
    """float32, by place in the model; matrices are [in, out]."""
    rng = np.random.default_rng(2)
    shapes = {
        "first.weight": (FEATURES, WIDTH),
        "first.bias": (WIDTH,),
        "last.weight": (WIDTH, CLASSES),
        "last.bias": (CLASSES,),
    }
    weights = {place: (rng.integers(-64, 65, shape) / 64).astype("float32") for place, shape in shapes.items()}
    if case.norm:
        for place, value in {"weight": 1, "bias": 0, "_mean": 0, "_variance": 1}.items():
            weights[f"norm.{place}"] = np.full(WIDTH, value, "float32")
    return weights


def micro_batches(case: DdpCase) -> list[list[np.ndarray]]:
    """For each step the indices of each of its micro-batches."""
    batches = np.split(np.arange(case.samples), range(case.batch, case.samples, case.batch))
    steps = [batches[begin : begin + case.accumulate] for begin in range(0, len(batches), case.accumulate)]
    return steps * case.epochs


def part(batch: np.ndarray, rank: int) -> np.ndarray:
    """The samples of a rank."""
    return batch[len(batch) * rank // RANKS : len(batch) * (rank + 1) // RANKS]
