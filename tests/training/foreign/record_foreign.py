"""Print what models of torchvision, timm and Keras return with the weights and images below: outputs.json.

    KERAS_BACKEND=torch python tests/training/foreign/record_foreign.py > tests/training/foreign/outputs.json

in a Python with torch, torchvision, timm and keras. The tests need none of them: they draw the same weights.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from importlib.metadata import version

import numpy as np

IMAGES = {"resnet18": (2, 3, 64, 64), "vit": (2, 3, 16, 16), "net": (2, 3, 9, 9)}


def images(model: str) -> np.ndarray:
    """float32 [N, C, H, W]."""
    return np.random.RandomState(0).normal(size=IMAGES[model]).astype("float32")


def drawn(shapes: Mapping[str, tuple[int, ...]], out: int) -> dict[str, np.ndarray]:
    """Weights by name, float32, each drawn with its own seed: variances and scales in [0.5, 1.5), none of them 1.

    out: the axis of the outputs in kernels and matrices.
    """
    weights = {}
    for name, shape in shapes.items():
        rng = np.random.RandomState(zlib.crc32(name.encode()))
        if not shape:
            weights[name] = np.array(7, "int64")
        elif name.endswith(("var", "variance", "gamma")) or (len(shape) == 1 and name.endswith("weight")):
            weights[name] = rng.uniform(0.5, 1.5, shape).astype("float32")
        elif len(shape) == 1:
            weights[name] = rng.normal(0, 0.1, shape).astype("float32")
        else:
            inputs = np.prod(shape) / shape[out]
            weights[name] = rng.normal(0, np.sqrt(2 / inputs), shape).astype("float32")
    return weights


def of_torch(model, name: str) -> dict:
    """The shapes of a model's weights, and its outputs with those drawn."""
    import torch

    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    model.load_state_dict({key: torch.tensor(value) for key, value in drawn(shapes, 0).items()})
    with torch.no_grad():
        outputs = model.eval()(torch.tensor(images(name)))
    return {"shapes": shapes, "outputs": outputs.tolist()}


def of_keras(model, name: str) -> dict:
    """The same. Keras' images are [N, H, W, C]."""
    shapes = {weight.path: tuple(weight.shape) for weight in model.weights}
    model.set_weights(list(drawn(shapes, -1).values()))
    outputs = np.asarray(model(images(name).transpose(0, 2, 3, 1), training=False).detach())
    return {"shapes": shapes, "outputs": outputs.tolist()}


def keras_model():
    """Convolutions of each kind, a BatchNorm and Dense layers, one of them square."""
    import keras
    from keras import layers

    return keras.Sequential(
        [
            layers.Input((9, 9, 3)),
            layers.Conv2D(6, 3, strides=2, use_bias=False, name="conv"),
            layers.BatchNormalization(name="bn"),
            layers.ReLU(),
            layers.DepthwiseConv2D(3, padding="same", name="depthwise"),
            layers.ReLU(),
            layers.Conv2DTranspose(5, (2, 3), strides=2, name="up"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5, activation="gelu", name="hidden"),
            layers.Dense(4, name="head"),
        ],
        name="net",
    )


def main() -> None:
    from timm.models.vision_transformer import VisionTransformer
    from torchvision.models import resnet18

    vit = VisionTransformer(img_size=16, patch_size=8, embed_dim=12, depth=2, num_heads=3, num_classes=5)
    recorded = {
        "versions": {name: version(name) for name in ("torch", "torchvision", "timm", "keras")},
        "resnet18": of_torch(resnet18(num_classes=10), "resnet18"),
        "vit": of_torch(vit, "vit"),
        "net": of_keras(keras_model(), "net"),
    }
    lines = [f'"{name}": {json.dumps(value)}' for name, value in recorded.items()]
    print("{\n" + ",\n".join(lines) + "\n}")


if __name__ == "__main__":
    main()
