"""The model of docs/scale.md: its tables, from its assumptions.

    python docs/experiments/scale_model.py

Prints the tables in Markdown, as the page has them. Needs nothing but Python. The sources of the assumptions are on the page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MIB = 2**20
BUCKET = 25 * MIB  # the default of ReducePass
SIGNALS = 2 + 1  # the request to stop, the step's number, and the loss


@dataclass(frozen=True)
class Model:
    """trained: the number of trained numbers; statistics: that of BatchNorm's numbers."""

    name: str
    trained: int
    statistics: int

    @property
    def size(self) -> int:
        """The bytes that each rank gives to the sums of a step: float32, whatever the precision of the products."""
        return 4 * (self.trained + self.statistics + SIGNALS)

    @property
    def buckets(self) -> int:
        """The least number of buckets."""
        return math.ceil(self.size / BUCKET)


DIGITS = Model("digits CNN", 5_178, 96)
RESNET18 = Model("ResNet-18, 10 classes", 11_181_642, 9_600)
RESNET50 = Model("ResNet-50, 1,000 classes", 25_557_032, 53_120)
TRANSFORMER = Model("a Transformer", 355_000_000, 0)
MODELS = (DIGITS, RESNET18, RESNET50, TRANSFORMER)


@dataclass(frozen=True)
class Link:
    """begin: seconds of any operation; hop: seconds from one rank to the next; speed: bytes/s in one direction."""

    name: str
    begin: float
    hop: float
    speed: float

    def ring(self, size: float, ranks: int, operations: int = 1) -> float:
        """Seconds to sum `size` bytes in some operations: N-1 hops to sum a part on each rank, N-1 to hand the sums round."""
        hops = 2 * (ranks - 1)
        return operations * (self.begin + hops * self.hop) + sent_ring(size, ranks) / self.speed

    def tree(self, size: float, ranks: int, operations: int = 1) -> float:
        """The same in two trees at once, each with half of the bytes: up to the root and down again."""
        hops = 2 * math.ceil(math.log2(ranks))
        return operations * (self.begin + hops * self.hop) + 2 * size / self.speed


def sent_ring(size: float, ranks: int) -> float:
    """The bytes that each rank sends, and receives, in a ring."""
    return 2 * (ranks - 1) / ranks * size


NVLINK = Link("NVLink of an A100", 8.4e-6, 3.4e-6, 235e9)
NETWORKS = (
    Link("25 Gbit/s, 50 µs", 8.4e-6, 50e-6, 0.9 * 25e9 / 8),
    Link("100 Gbit/s, 50 µs", 8.4e-6, 50e-6, 0.9 * 100e9 / 8),
    Link("100 Gbit/s, 10 µs", 8.4e-6, 10e-6, 0.9 * 100e9 / 8),
)
MEMORY = 1.555e12  # bytes/s of an A100's memory
BACKWARD = 2 / 3  # of a step


@dataclass(frozen=True)
class Work:
    """A step of one GPU without other ranks. seconds: its time; published: the speed-up that others measured on 8 GPUs."""

    name: str
    model: Model
    seconds: float
    published: str = "-"


def images(count: int, per_second: float) -> float:
    """The seconds of a step on `count` images."""
    return count / per_second


def tokens(count: int, model: Model, rate: float) -> float:
    """The seconds of a step of a Transformer on `count` tokens: 6 operations for each weight and token."""
    return 6 * model.trained * count / rate


WORKS = (
    Work("ResNet-50, TF32, 256 images", RESNET50, images(256, 993), "8.01"),
    Work("ResNet-50, float16, 256 images", RESNET50, images(256, 2711), "7.47"),
    Work("ResNet-50, float16, 32 images", RESNET50, images(32, 2711)),
    Work("a Transformer of 355 M weights, 8,192 tokens", TRANSFORMER, tokens(8192, TRANSFORMER, 0.4 * 312e12)),
)


def copies(size: float) -> float:
    """The seconds to fill the buckets and to take the sums out again: each reads and writes every byte."""
    return 4 * size / MEMORY


def left_over(seconds: float, model: Model, backward: float) -> float:
    """What an overlap would leave of the sums: the last bucket can begin only when the backward pass has ended."""
    return max(seconds / model.buckets, seconds - backward * (model.buckets - 1) / model.buckets)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    first, *others = ["| " + " | ".join(each) + " |" for each in (head, *rows)]
    return "\n".join([first, "|" + "---|" * len(head), *others])


def ms(seconds: float) -> str:
    """Milliseconds to three digits, as "0.812 ms", "12.3 ms" or "1,210 ms"."""
    value = seconds * 1e3
    digits = max(0, 2 - math.floor(math.log10(value)))
    return f"{round(value, 2 - math.floor(math.log10(value))):,.{digits}f} ms"


def megabytes(size: float) -> str:
    """Megabytes, of 10^6 bytes, to three digits."""
    value = size / 1e6
    return f"{value:,.{max(0, 2 - math.floor(math.log10(value)))}f} MB"


def moved() -> str:
    """What a step moves."""
    ranks = (2, 8, 1000)
    rows = [
        (
            each.name,
            f"{each.trained:,}",
            f"{each.statistics:,}",
            megabytes(each.size),
            *(megabytes(sent_ring(each.size, n)) for n in ranks),
        )
        for each in MODELS
    ]
    return table(("model", "trained numbers", "statistics", "summed, S", *(f"sent by each of {n:,}" for n in ranks)), rows)


def eight() -> str:
    """8 GPUs with NVLink."""
    rows = []
    for work in WORKS:
        size = work.model.size
        sums, more = NVLINK.ring(size, 8, work.model.buckets), copies(size)
        whole = work.seconds + sums + more
        overlapped = work.seconds + left_over(sums, work.model, BACKWARD * work.seconds) + more
        rows.append(
            (
                work.name,
                ms(work.seconds),
                ms(sums),
                ms(more),
                f"{100 * (sums + more) / whole:.1f} %",
                f"{8 * work.seconds / whole:.2f}",
                f"{8 * work.seconds / overlapped:.2f}",
                work.published,
            )
        )
    head = ("a step of each GPU", "alone", "sums", "copies", "share", "speed of 8", "with overlap", "published")
    return table(head, rows)


def thousand() -> str:
    """1,000 machines with one GPU each over Ethernet."""
    rows, work = [], WORKS[0]
    size, buckets = work.model.size, work.model.buckets
    for link in NETWORKS:
        for name, sums in (("ring", link.ring(size, 1000, buckets)), ("tree", link.tree(size, 1000, buckets))):
            cells = [f"{link.name}, {name}", ms(sums)]
            for part in (1, 8, 32):
                alone = work.seconds / part
                whole = alone + sums + copies(size)
                overlapped = alone + left_over(sums, work.model, BACKWARD * alone) + copies(size)
                cells.append(f"{100 * alone / whole:.0f} %, {100 * alone / overlapped:.0f} %")
            rows.append(cells)
    head = ("network", "sums of a step", *(f"{256 // part} images a GPU" for part in (1, 8, 32)))
    return table(head, rows)


def buckets() -> str:
    """The sums of a step of 1,000 ranks, by the size of buckets."""
    size, rows = RESNET50.size, []
    for link in NETWORKS:
        cells = [link.name]
        for limit in (1, 4, 25, 1024):
            count = math.ceil(size / (limit * MIB))
            cells.append(f"{ms(link.ring(size, 1000, count))}, {ms(link.tree(size, 1000, count))}")
        rows.append(cells)
    return table(("network", "1 MiB", "4 MiB", "25 MiB", "one bucket"), rows)


TABLES = (moved, eight, thousand, buckets)


if __name__ == "__main__":
    for each in TABLES:
        print(f"\n{each.__doc__}\n\n{each()}")
