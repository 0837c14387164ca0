"""The passes of data parallel training: `SharePass` weights the loss of a rank, `ReducePass` sums over the ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import paddle

from ppema.errors import ConfigError
from ppema.ir import IR, Program, Variable, dtype_name
from ppema.ir.processes.own_memory import in_own_memory
from ppema.passes.parallel.reduction import LOSSES, RankPlace, Reduction
from ppema.passes.target import Pass, TrainProgram, assign

# What gloo sums right. Other types are cast.
_SUMMED = ("float32", "float64")


@dataclass(frozen=True)
class SharePass(Pass):
    """Weight the loss of a rank by its share of the global batch, so that gradients add up over ranks to those of one process.

    With the loss L_r, a mean over values whose weights sum to w_r, one process has the loss Σ w_r·L_r / Σ w_r. Without weights
    w_r is the number of samples n_r, and the loss becomes L_r·n_r / Σ n_r. With weights it becomes L_r·w_r / Σ n_r, and
    `ReducePass` multiplies the sums by Σ n_r / Σ w_r: Σ w_r is known only there.

    The shares of samples are inputs (`place_of_rank`). A rank without samples in a short batch runs a sample of another rank,
    with the share 0. If a step takes several micro-batches, only w_r becomes 0 there: `AccumulatePass` weights by it.

    The program must have `TrainProgram.weight` if it accumulates, or if the loss has weights.

    accumulates: whether a step takes several micro-batches.
    """

    name: ClassVar[str] = "share"
    accumulates: bool

    def apply(self, target: TrainProgram) -> str:
        """Set `target.place`, and change `target.loss`, `target.parts` and `target.weight`."""
        with paddle.static.program_guard(target.main, target.startup):
            place = target.place = RankPlace.input()
            if target.weight is not None:
                present = paddle.cast(place.share > paddle.zeros_like(place.share), "float32")
                target.weight = target.weight * present
            if self.accumulates:
                return "a rank without samples counts 0"
            share = target.weight / place.samples if target.weighted else place.share
            target.loss = target.loss * share
            target.parts = {name: part * share for name, part in target.parts.items()}
        return f"the loss times the rank's share of the {'weights' if target.weighted else 'samples'}"


@dataclass(frozen=True)
class ReducePass(Pass):
    """Sum over all ranks: the gradients, the loss, and the statistics that the forward pass writes, such as BatchNorm's.

    After it, all of them are the same on every rank, and so are all later decisions and the state. Gradients add up to those of
    one process with the global batch. A floating-point statistic becomes the mean over ranks, weighted by their samples of the
    step: each rank normalises by its own part of the batch. Integers, such as counters of batches, must be equal on all ranks.

    The numbers go in buckets, flat arrays of one type each, of at most `bucket` bytes unless one value alone is larger. A
    bucket takes one operation, in the program's order and outside of all branches: if ranks took different branches, a sum of
    one would pair with a later one of another. The first bucket also holds the request of a rank to stop, and the step's
    number, whose sum shows that all ranks are at the same step (`Reduction.stops`).

    On a CPU, a large gradient with memory of its own is a bucket of its own. It is summed where it is, without copies into and
    out of one.

    It follows `BackwardPass` and, where a step takes several micro-batches, `AccumulatePass`: the sums over micro-batches are
    reduced once a step, by the program of its last micro-batch. Clipping, the finite check and the optimizer follow.

    ranks: their number, at least 2. bucket, large: in bytes.
    """

    name: ClassVar[str] = "reduce"
    ranks: int
    bucket: int = 25 << 20
    large: int = 1 << 20

    def apply(self, target: TrainProgram) -> Reduction:
        """Set `target.reduction`; `gradients`, `loss`, `parts` and the accumulation's total become those of all ranks."""
        assert target.place is not None, "SharePass comes first"
        assert target.loss is not None, "ForwardPass comes first"
        ir, place, accumulation = target.ir, target.place, target.accumulation
        for parameter, gradient in target.gradients:
            if ir.gradient_values(gradient) is not gradient:
                raise ConfigError.of(f"the gradient of {parameter.name} is sparse, which ranks can not sum: set sparse: false")
        moved = [each for each in target.moved if "float" in each.dtype]
        with target.appending():
            late = ir.after_branches(target.main, target.loss)
            if accumulation is None:
                losses = [late, *target.parts.values()]
                total = [target.weight] if target.weighted else []
            else:
                assert target.weight is not None, "ForwardPass sets it"
                given = paddle.static.data(LOSSES, [1 + len(target.parts)], "float32")
                own = paddle.stack([late, *target.parts.values()]) * target.weight
                losses, total = list(paddle.unbind(given + own)), [accumulation.total]
            statistics = [each.variable * _in_type(place.of_step, each.variable.dtype) for each in moved]
            values = [place.signals, *losses, *total, *statistics, *(gradient for _, gradient in target.gradients)]
            buckets = self._buckets(target.main, values)
            found = iter(_sums(ir, values, buckets))
            signals = next(found)
            losses, total = [next(found) for _ in losses], [next(found) for _ in total]
            for each in moved:
                assign(next(found), each.variable)
            gradients = list(found)
            if accumulation is not None:
                whole = total[0]
                divisor = paddle.where(whole > 0, whole, paddle.ones_like(whole))
                losses = [each / divisor for each in losses]
                target.accumulation = replace(accumulation, divisor=whole)
            elif target.weighted:
                whole = total[0]
                factor = place.samples / paddle.where(whole > 0, whole, paddle.ones_like(whole))
                losses = [each * factor for each in losses]
                gradients = [each * _in_type(factor, each.dtype) for each in gradients]
        target.gradients = [(parameter, each) for (parameter, _), each in zip(target.gradients, gradients, strict=True)]
        target.loss, target.parts = losses[0], dict(zip(target.parts, losses[1:], strict=True))
        made = target.reduction = Reduction(self.ranks, signals, sum(map(_bytes, values)), len(buckets))
        return made

    def _buckets(self, main: Program, values: Sequence[Variable]) -> list[_Bucket]:
        """The buckets of `values`, in the order of their first ones."""
        buckets: list[_Bucket] = []
        last: dict[str, _Bucket] = {}
        for place, value in enumerate(values):
            kind, size = _summed(value), _bytes(value)
            if size >= self.large and _replaceable(main, value):
                buckets.append(_Bucket(kind, [place], size, in_place=True))
                continue
            if kind not in last or last[kind].size + size > self.bucket:
                last[kind] = _Bucket(kind)
                buckets.append(last[kind])
            last[kind].places.append(place)
            last[kind].size += size
        return buckets


@dataclass
class _Bucket:
    """Values of one operation that sums. places: of the values; size: in bytes; in_place: it is one value, without a copy."""

    kind: str
    places: list[int] = field(default_factory=list)
    size: int = 0
    in_place: bool = False


def _replaceable(main: Program, value: Variable) -> bool:
    """Whether the sum of `value` may take its place. On GPUs copies cost little, but each sum hops through a network."""
    return not paddle.is_compiled_with_cuda() and dtype_name(value) in _SUMMED and in_own_memory(main, value)


def _sums(ir: IR, values: Sequence[Variable], buckets: Sequence[_Bucket]) -> list[Variable]:
    """The sums of `values` over all ranks, in their shapes and types."""
    found: dict[int, Variable] = {}
    for bucket in buckets:
        places = bucket.places
        if bucket.in_place:
            found[places[0]] = ir.append_all_reduce(values[places[0]])
            continue
        parts = [_in_type(paddle.reshape(values[each], [-1]), getattr(paddle, bucket.kind)) for each in places]
        whole = ir.append_all_reduce(paddle.concat(parts))
        sizes = [math.prod(values[each].shape) for each in places]
        for each, part in zip(places, paddle.split(whole, sizes) if len(places) > 1 else [whole], strict=True):
            found[each] = _in_type(paddle.reshape(part, list(values[each].shape)), values[each].dtype)
    return [found[each] for each in range(len(values))]


def _in_type(value: Variable, dtype: Any) -> Variable:
    """`value`, cast to Paddle's type `dtype` unless it is of that type: Paddle's cast would copy it."""
    return value if value.dtype == dtype else paddle.cast(value, dtype)


def _summed(value: Variable) -> str:
    """The type in which a floating-point value is summed."""
    kind = dtype_name(value)
    return kind if kind in _SUMMED else "float32"


def _bytes(value: Variable) -> int:
    """The bytes of `value` in its sum."""
    return math.prod(value.shape) * np.dtype(_summed(value)).itemsize
