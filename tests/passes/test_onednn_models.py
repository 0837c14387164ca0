"""Whole networks on oneDNN: their losses and gradients."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from support.placed import both, distance

from ppema.ir import backend
from ppema.passes.onednn import KINDS

if (why := backend().onednn_hindrance()) is not None:
    pytest.skip(f"oneDNN: {why}", allow_module_level=True)

pytestmark = pytest.mark.campaign

F = paddle.nn.functional


def encoder(**_):
    layer = paddle.nn.TransformerEncoderLayer(16, 2, 32)
    layers = [paddle.nn.Linear(8, 16), paddle.nn.TransformerEncoder(layer, 2), paddle.nn.Flatten(), paddle.nn.Linear(96, 10)]
    return paddle.nn.Sequential(*layers)


def vgg11(**_):
    """The convolutions of VGG-11, without its linear layers of 120 million weights."""
    features = paddle.vision.models.vgg11(num_classes=0, with_pool=False)
    return paddle.nn.Sequential(features, paddle.nn.AdaptiveAvgPool2D(1), paddle.nn.Flatten(), paddle.nn.Linear(512, 10))


OWN = {"encoder": encoder, "vgg11": vgg11}
MODELS = {
    "LeNet": (1, 28, 28),
    "resnet18": (3, 64, 64),
    "resnet50": (3, 64, 64),
    "mobilenet_v2": (3, 64, 64),
    "mobilenet_v3_small": (3, 32, 32),
    "vgg11": (3, 64, 64),
    "densenet121": (3, 32, 32),
    "shufflenet_v2_x1_0": (3, 32, 32),
    "encoder": (6, 8),
}


def learning(name):
    """Builds the model, its loss and all gradients."""

    def build():
        net = OWN.get(name, getattr(paddle.vision.models, name, None))(num_classes=10)
        images = paddle.static.data("images", [-1, *MODELS[name]], "float32")
        loss = F.cross_entropy(net(images), paddle.static.data("labels", [-1], "int64"))
        pairs = paddle.static.append_backward(loss)
        # Copies are fetched, since an operation with a fetched result keeps Paddle's kernel.
        return [loss, *(paddle.assign(gradient) for _, gradient in pairs if gradient is not None)]

    return build


@pytest.mark.parametrize("name", MODELS)
def test_losses_and_gradients_are_those_of_paddles_own_kernels(name):
    """Equal up to rounding: they differ no more than Paddle's own do after the images change by a millionth, or by less.

    "Less" applies to VGG-11, which has no BatchNorm to amplify a difference. The test takes the median of three batches, since
    a single ReLU that changes sides outweighs all other differences a thousand times.
    """
    rng = np.random.default_rng(0)
    placed, native = both(learning(name))
    apart, control = [], []
    for _ in range(3):
        images, labels = rng.normal(size=(4, *MODELS[name])).astype("float32"), rng.integers(0, 10, 4)
        noise = rng.normal(size=images.shape).astype("float32") * np.float32(1e-6)
        wanted, found = native(images=images, labels=labels), placed(images=images, labels=labels)
        apart.append(distance(found, wanted))
        control.append(distance(native(images=images + noise, labels=labels), wanted))
        assert [a.tobytes() for a in placed(images=images, labels=labels)] == [a.tobytes() for a in found]
    assert np.median(apart) <= max(np.median(control), 1e-6)
    convolutions = sum(native.kinds()[kind] for kind in KINDS)
    assert sum(placed.placement.placed.values()) == convolutions
    assert sum(count for kind, count in placed.kinds().items() if kind.startswith("onednn_op.")) == convolutions
