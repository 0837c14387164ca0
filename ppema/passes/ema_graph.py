"""The update of an average by Paddle's own operations, where the C++ operation is missing."""

from __future__ import annotations

import math

import paddle

from ppema.averaging.decay import step_size, weight_after
from ppema.averaging.precision import compensated
from ppema.averaging.rule import Rule
from ppema.averaging.shards import Piece
from ppema.ir import IR, Program, Variable, dtype_name
from ppema.passes.average import Average


class _GraphArithmetic:
    """Schedule arithmetic on 0-D float64 variables of the default main program.

    The type is float64, since in float32 1 - d loses half of its digits when d is near 1. Constants are `full` operations:
    Paddle rounds an operand that is a Python number to float32, which is exact for small whole numbers only.
    """

    def constant(self, value: float) -> Variable:
        return paddle.full([], value, "float64")

    def minimum(self, a: Variable, b: Variable) -> Variable:
        return paddle.minimum(a, b)

    def maximum(self, a: Variable, b: Variable) -> Variable:
        return paddle.maximum(a, b)

    def exp(self, a: Variable) -> Variable:
        return paddle.exp(a)

    def log(self, a: Variable) -> Variable:
        return paddle.log(a)


GRAPH = _GraphArithmetic()


def append_update(ir: IR, main: Program, average: Average, when: Variable | None) -> None:
    """Append the operations of one update to the default main program, `main`. when: as `TrainProgram.when`."""
    rule, happens = average.rule, None if when is None else paddle.reshape(when, [])
    step = count_after(average, happens)
    new_weight, alpha = _scalars(rule, step, average.total)
    early, alpha = alpha, ir.after_branches(main, alpha)
    alphas = {dtype: alpha.astype(dtype) for dtype in sorted({dtype_name(average.shadows[name]) for name in average.followed})}

    def update() -> None:
        for name, value in average.followed.items():
            shadow = average.shadows[name]
            if name in average.cuts:
                value = _piece(value, average.cuts[name])
            _follow(ir, shadow, average.rests.get(name), value, alphas[dtype_name(shadow)])
        paddle.assign(new_weight, output=average.total)

    due = _due(rule, step, happens)
    if due is None and alpha is not early:
        # The model's branches write some of the averaged variables. Operations without alpha as an input, such as casts, could
        # read these too early. In a branch of their own all operations wait for alpha.
        due = alpha >= GRAPH.constant(0.0)
    if due is None:
        update()
    else:
        paddle.static.nn.cond(due, update, None)
    paddle.assign(step, output=average.step)


def _piece(value: Variable, piece: Piece) -> Variable:
    """A copy of the piece of a variable's value, [n]."""
    return paddle.slice(paddle.reshape(value, [-1]), [0], [piece.begin], [piece.end])


def append_lerp(ir: IR, target: Variable, value: Variable, weight: Variable) -> None:
    """Append target += weight·(value - target), in place. Both float32 or float64, of one shape; weight: 0-D, of their type.

    It is a step of SGD on ½|target - value|² at the rate `weight`, the fastest form. For a float32 variable of 8 n numbers,
    Paddle generates its code, which rounds twice. For all others MKL decides, and with FMA it rounds once: they get operations
    that round twice, so that a piece of an average has the bits of the whole, on each processor.
    """
    if dtype_name(target) == "float32" and math.prod(target.shape) % 8 == 0:
        ir.append_descent(target, target - value, weight)
    else:
        paddle.assign(target - weight * (target - value), output=target)


def count_after(average: Average, happens: Variable | None) -> Variable:
    """The number of steps that the average has seen after this run, 0-D int64. happens: 0-D bool, whether the run is a step."""
    return average.step + 1 if happens is None else average.step + paddle.cast(happens, "int64")


def steps_since(rule: Rule, step: Variable) -> Variable:
    """The number of steps since the first observation of the average, 0-D float64; negative before it."""
    return paddle.cast(step, "float64") - float(rule.first)


def decay(rule: Rule, since: Variable) -> Variable:
    """The decay d_t of an update, 0-D float64. since: number of steps since the first observation, 0-D float64."""
    return rule.schedule(GRAPH.maximum(since, GRAPH.constant(0.0)), rule.interval, GRAPH)


def divides(interval: int, step: Variable) -> Variable:
    """Whether `step`, 0-D int64, is a multiple of `interval`: 0-D bool."""
    return paddle.equal(paddle.remainder(step, paddle.full([], interval, "int64")), paddle.full([], 0, "int64"))


def _scalars(rule: Rule, step: Variable, weight: Variable) -> tuple[Variable, Variable]:
    """W_t and α_t, both 0-D float64, of an update after `step`. weight: W_{t-1}."""
    since = steps_since(rule, step)
    d = decay(rule, since)
    new_weight = weight_after(weight, d) if rule.bias_correction else GRAPH.constant(1.0)
    alpha = step_size(new_weight, d)
    if rule.first > 1:
        # Until the average begins, updates set the shadow to the weights, and the total weight stays 0.
        begun = since >= GRAPH.constant(0.0)
        new_weight = paddle.where(begun, new_weight, GRAPH.constant(0.0))
        alpha = paddle.where(begun, alpha, GRAPH.constant(1.0))
    return new_weight, alpha


def _due(rule: Rule, step: Variable, happens: Variable | None) -> Variable | None:
    """Whether a run updates the average, 0-D bool: it is an optimizer step and ends an interval. None: every run does.

    With bias correction the very first step updates too, since the shadow is still empty.
    """
    if rule.update_every == 1:
        return happens
    due = divides(rule.update_every, step)
    if rule.bias_correction:
        due = paddle.logical_or(due, paddle.equal(step, paddle.full([], 1, "int64")))
    return due if happens is None else paddle.logical_and(happens, due)


def _follow(ir: IR, shadow: Variable, rest: Variable | None, value: Variable, alpha: Variable) -> None:
    """Append shadow += alpha·(value - shadow). If there is a `rest`, it keeps the rounding error."""
    if dtype_name(value) != dtype_name(shadow):
        value = paddle.cast(value, shadow.dtype)
    if rest is None:
        append_lerp(ir, shadow, value, alpha)
        return
    updated, lost = compensated(shadow, rest, value, alpha)
    paddle.assign(updated, output=shadow)
    paddle.assign(lost, output=rest)
