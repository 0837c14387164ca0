"""Layers by the C++ operations, beside float64 and Paddle's own operations."""

from __future__ import annotations

import ctypes
import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import paddle
import pytest
from scipy import special
from support.device import device_place
from support.quickened import quickened

from ppema.ir import backend
from ppema.ir.native import why_missing

if (why := backend().onednn_hindrance()) is not None or (why := why_missing()) is not None:
    pytest.skip(f"no layers of our own: {why}", allow_module_level=True)

F = paddle.nn.functional
Arrays = list[np.ndarray]
rng = np.random.default_rng(0)


def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
    return (rng.normal(size=shape) * scale).astype("float32")


class Built:
    """The result y of `layer` for variables, and the gradients of Σ g·y by all of them but g, with and without replacements."""

    def __init__(self, layer: Callable[..., Any], *shapes: Sequence[int], fixed: Sequence[int] = ()):
        self.programs = []
        for quick in (True, False):
            main = paddle.static.Program()
            with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, paddle.static.Program()):
                values = [paddle.static.data(f"x{index}", [*shape], "float32") for index, shape in enumerate(shapes)]
                for index, value in enumerate(values):
                    value.stop_gradient = index in fixed
                y = layer(*values)
                slope = paddle.static.data("g", y.shape, "float32")
                by = [value for value in values if not value.stop_gradient]
                gradients = paddle.static.gradients([y], by, [slope])
                fetched = [paddle.assign(each) for each in (y, *gradients)]
                if quick:
                    self.replaced = backend().quicken(main, fetched)
            self.programs.append((main, fetched))
        self._executor = paddle.static.Executor(device_place())

    def run(self, values: Sequence[np.ndarray], slope: np.ndarray) -> tuple[Arrays, Arrays]:
        """With replacements, and without."""
        feed = {f"x{index}": value for index, value in enumerate(values)} | {"g": slope}
        return tuple(self._executor.run(main, feed, fetched) for main, fetched in self.programs)


def error(found: np.ndarray, true: np.ndarray) -> float:
    """The largest error, in units of the last place of the largest value. Paddle's is 0.5 to 2,500, or millions."""
    return float(np.abs(found - true).max() / np.spacing(np.float32(np.abs(true).max())))


def same_bits(found: Arrays, wanted: Arrays) -> bool:
    return [each.tobytes() for each in found] == [each.tobytes() for each in wanted]


def gelu_slope(x: np.ndarray, approximate: bool) -> np.ndarray:
    x = x.astype("float64")
    if not approximate:
        return special.ndtr(x) + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi)
    z = np.sqrt(8 / np.pi) * (x + 0.044715 * x**3)
    s = special.expit(z)
    return s + x * s * special.expit(-z) * np.sqrt(8 / np.pi) * (1 + 3 * 0.044715 * x * x)


@pytest.mark.parametrize("approximate", [False, True])
def test_the_gradient_of_gelu_is_that_of_float64_for_every_size_of_number(approximate):
    """In units of its own last place, except near its zero at -0.75. Paddle's has no right digit below -5."""
    built = Built(lambda x: F.gelu(x, approximate), [-1, 4096])
    assert built.replaced == {"gelu_grad": 1}
    x = np.concatenate([np.linspace(-16, 16, 3 * 4096 - 28), np.repeat([0.0, 1e-45, 1e-39, 1e-30, 1e10, 1e20, 3e38], 4)])
    x = (x * np.tile([1, -1, 1, -1], len(x) // 4)).astype("float32").reshape(3, 4096)
    (y, found), (paddles_y, paddles) = built.run([x], np.ones_like(x))
    true = gelu_slope(x, approximate)
    assert y.tobytes() == paddles_y.tobytes()  # the forward pass is Paddle's
    place = np.maximum(np.spacing(np.abs(true).astype("float32")), np.where(np.abs(x + 0.75) < 0.1, 1e-9, 0))
    assert (np.abs(found - true) / place).max() <= 0.56
    sane = np.isfinite(paddles)  # the approximate one is NaN beyond 1e19
    assert np.abs(found - true)[sane].max() <= np.abs(paddles - true)[sane].max()


@pytest.mark.parametrize("approximate", [False, True])
def test_the_gradient_of_gelu_hides_nothing_that_is_not_finite(approximate):
    built = Built(lambda x: F.gelu(x, approximate), [-1, 4096])
    x, slope = normal(2, 4096), normal(2, 4096)
    x[0, :3] = np.nan, np.inf, -np.inf
    slope[1, :3] = np.nan, np.inf, -np.inf
    (_, found), (_, paddles) = built.run([x], slope)
    assert not np.isfinite(found[:, :3]).any() and np.isfinite(found[:, 3:]).all()
    assert (np.isfinite(paddles) == np.isfinite(found)).all()


LAYER_NORMS = {
    "plain": ((5, 16, 256), 2, 1.0, 0.0),
    "odd": ((7, 3, 5, 301), 3, 1.0, 0.0),
    "two axes": ((3, 7, 11, 61), 2, 1.0, 0.0),
    "all but samples": ((70, 4097), 1, 1.0, 0.0),
    "offset": ((9, 16, 256), 2, 1.0, 1e4),
    "small": ((9, 16, 256), 2, 1e-20, 0.0),
}


def layer_norm64(x, slope, scale, axis):
    shape = x.shape
    x, slope = (each.astype("float64").reshape(int(np.prod(shape[:axis])), -1) for each in (x, slope))
    apart = x - x.mean(1, keepdims=True)
    factor = 1 / np.sqrt((apart**2).mean(1, keepdims=True) + np.float32(1e-5))
    n, h = apart * factor, slope * scale
    of_x = factor * (h - h.mean(1, keepdims=True) - n * (h * n).mean(1, keepdims=True))
    return [of_x.reshape(shape), (slope * n).sum(0), slope.sum(0)]


@pytest.mark.parametrize("given", ["scale and bias", "scale", "none"])
@pytest.mark.parametrize("case", LAYER_NORMS)
def test_the_gradients_of_layer_norm_are_those_of_float64(case, given):
    shape, axis, size, offset = LAYER_NORMS[case]
    columns = list(shape[axis:])
    number, width = {"none": 0, "scale": 1, "scale and bias": 2}[given], int(np.prod(columns))
    built = Built(lambda x, *given: F.layer_norm(x, columns, *given), [-1, *shape[1:]], *[[width]] * number)
    assert built.replaced == {"layer_norm_grad": 1}
    x, slope = normal(*shape, scale=size) + np.float32(offset), normal(*shape)
    x[0, ..., :] = x[0, ..., :1]  # constant rows where the last axis is a row
    scale, bias = normal(width), normal(width)
    found, paddles = built.run([x, scale, bias][: number + 1], slope)
    assert same_bits(found[:1], paddles[:1])  # of the forward pass, which is Paddle's
    true = layer_norm64(x, slope, scale if number else 1.0, axis)[: number + 1]
    assert max(map(error, found[1:], true)) <= 0.51


def test_layer_norm_hides_nothing_that_is_not_finite():
    built = Built(lambda x, scale, bias: F.layer_norm(x, [256], scale, bias), [-1, 16, 256], [256], [256])
    for value in (np.nan, np.inf, -np.inf):
        for place in range(2):
            given = [normal(2, 16, 256), normal(2, 16, 256)]
            given[place][1, 3, 5] = value
            (_, of_x, of_scale, of_bias), _ = built.run([given[0], normal(256), normal(256)], given[1])
            assert not np.isfinite(of_x[1, 3]).any() and np.isfinite(of_x[0]).all()
            assert not np.isfinite(of_scale[5]) and np.isfinite(of_bias[5]) == (place == 0)


def linear(x, weight, bias):
    return F.linear(x, weight, bias)


@pytest.mark.parametrize(("rows", "columns"), [((3, 16), 256), ((5, 7, 3), 1031), ((1, 1), 4096), ((2, 4097), 1)])
def test_a_bias_and_its_gradient_have_the_bits_of_paddle(rows, columns):
    built = Built(linear, [-1, *rows[1:], 8], [8, columns], [columns])
    assert built.replaced == {"add": 1, "add_grad": 1}
    slope = normal(*rows, columns)
    slope.flat[::7] = -0.0
    found, paddles = built.run([normal(*rows, 8), normal(8, columns), normal(columns)], slope)
    assert same_bits(found, paddles)
    slope[0, 0, ..., 0] = np.nan
    assert np.isnan(built.run([normal(*rows, 8), normal(8, columns), normal(columns)], slope)[0][3][0])


def test_the_gradient_of_relu_has_the_bits_of_paddle():
    built = Built(lambda x, y: F.relu(x).matmul(y), [-1, 64, 64], [64, 64])
    assert built.replaced == {"relu_grad": 1}
    x, y, slope = normal(3, 64, 64), normal(64, 64), normal(3, 64, 64)
    x[1] = np.where(x[1] > 0, 0.0, -0.0)
    assert same_bits(*built.run([x, y], slope))
    slope[0, 3] = np.nan
    found, paddles = built.run([x, y], slope)
    assert np.isnan(found[1][0, 3]).all() and (np.isfinite(found[1]) == np.isfinite(paddles[1])).all()


def test_softmax_is_that_of_float64():
    built = Built(lambda x, y: F.softmax(paddle.matmul(x, y)), [-1, 4, 40, 3], [-1, 4, 3, 37])
    assert built.replaced == {"softmax": 1}
    x, y = normal(2, 4, 40, 3), normal(2, 4, 3, 37)
    x[0] *= 40  # exp(-200) and less
    slope = normal(2, 4, 40, 37)
    found, _ = built.run([x, y], slope)
    product = paddle.static.Program()
    with paddle.static.program_guard(product, paddle.static.Program()):
        fed = [paddle.static.data(name, each.shape) for name, each in (("x", x), ("y", y))]
        (z,) = paddle.static.Executor(device_place()).run(product, {"x": x, "y": y}, [paddle.matmul(*fed)])
    true = special.softmax(z.astype("float64"), -1)
    assert error(found[0], true) <= 0.51
    assert np.abs(found[0].sum(-1, dtype="float64") - 1).max() < 1e-6
    x[1, 2, 3, 0], x[1, 2, 4, 0] = np.nan, np.inf
    (strange, *_), _ = built.run([x, y], slope)
    assert np.isnan(strange[1, 2, 3:5]).all() and same_bits([strange[0]], [found[0][0]])


def test_a_masked_softmax_is_that_of_paddle():
    built = Built(lambda x, y, mask: F.softmax(paddle.matmul(x, y) + mask), [-1, 4, 40, 3], [-1, 4, 3, 37], [40, 37], fixed=[2])
    assert (built.replaced["add"], built.replaced["softmax"]) == (1, 1)
    mask = np.triu(np.full((40, 37), -np.inf, "float32"), 1)
    found, paddles = built.run([normal(2, 4, 40, 3), normal(2, 4, 3, 37), mask], normal(2, 4, 40, 37))
    assert (found[0][:, :, mask < 0] == 0).all()
    for ours, theirs in zip(found, paddles, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6 * np.abs(theirs).max())
    mask[3] = -np.inf
    found, paddles = built.run([normal(2, 4, 40, 3), normal(2, 4, 3, 37), mask], normal(2, 4, 40, 37))
    assert np.isnan(found[0][:, :, 3]).all() and (np.isnan(found[0]) == np.isnan(paddles[0])).all()


@contextmanager
def threads(number: int):
    """A context in which the operations use this number of threads."""
    library = ctypes.CDLL("libiomp5.so", mode=os.RTLD_NOLOAD)
    before = library.omp_get_max_threads()
    library.omp_set_num_threads(number)
    try:
        yield
    finally:
        library.omp_set_num_threads(before)


class Encoder:
    """The loss and all gradients of a TransformerEncoder, and the numbers of its replacements."""

    def __init__(self, quick: bool):
        self.main, startup = paddle.static.Program(), paddle.static.Program()
        with paddle.utils.unique_name.guard(), paddle.static.program_guard(self.main, startup):
            paddle.seed(1)
            layer = paddle.nn.TransformerEncoderLayer(64, 4, 128, 0.0, activation="gelu", normalize_before=True)
            net = paddle.nn.Sequential(paddle.nn.Linear(8, 64), paddle.nn.TransformerEncoder(layer, 2))
            loss = net(paddle.static.data("x", [-1, 64, 8])).square().mean()
            pairs = paddle.static.append_backward(loss)
            self.fetched = [loss, *(paddle.assign(gradient) for _, gradient in pairs)]
            self.replaced = backend().quicken(self.main, self.fetched) if quick else Counter()
        self._scope, self._executor = paddle.static.Scope(), paddle.static.Executor(paddle.CPUPlace())
        with paddle.static.scope_guard(self._scope):
            self._executor.run(startup)

    def run(self, x: np.ndarray) -> Arrays:
        with paddle.static.scope_guard(self._scope):
            return self._executor.run(self.main, {"x": x}, self.fetched)


def test_an_encoder_has_paddles_loss_and_gradients_and_the_same_bits_with_any_number_of_threads():
    x = normal(9, 64, 8)
    quick, paddles = Encoder(True), Encoder(False)
    assert quick.replaced == {"add": 13, "add_grad": 13, "gelu_grad": 2, "softmax": 2, "layer_norm_grad": 4}
    found = quick.run(x)
    for ours, theirs in zip(found, paddles.run(x), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6 * np.abs(theirs).max() + 1e-9)
    assert same_bits(found, quick.run(x))
    with threads(3):
        assert same_bits(found, quick.run(x))


def test_without_gradients_layers_stay_paddles():
    def build():
        x = F.gelu(paddle.nn.Linear(8, 512)(paddle.static.data("x", [-1, 16, 8])))
        return [paddle.assign(F.softmax(paddle.nn.LayerNorm(512)(x) + 1.0))]

    assert quickened(build) == {}


def test_small_layers_stay_paddles():
    def build():
        y = paddle.nn.LayerNorm(128)(F.gelu(paddle.nn.Linear(8, 128)(paddle.static.data("x", [-1, 8]))))
        return [loss := y.square().mean(), *(paddle.assign(each) for _, each in paddle.static.append_backward(loss))][:1]

    assert quickened(build) == {}


@pytest.mark.parametrize("summed", [False, True])
def test_a_gradient_that_ranks_sum_in_place_is_not_shared(summed):
    def build():
        weight, bias = (paddle.create_parameter(shape, "float32") for shape in ([16, 256], [256]))
        loss = (weight + bias).square().mean()
        gradients = [gradient for _, gradient in paddle.static.append_backward(loss)]
        (of_weight,) = (each for each in gradients if len(each.shape) == 2)
        if summed:
            backend().append_all_reduce(of_weight)
        return [loss]

    assert quickened(build) == ({} if summed else {"add_grad": 1})


def test_without_a_compiler_everything_stays_paddles(monkeypatch):
    monkeypatch.setattr("ppema.ir.quick.quicken.why_missing", lambda: "there is none")
    assert Encoder(True).replaced == {}
