"""Models that test configs name: features that train and test programs must handle, and some that they refuse."""

from __future__ import annotations

import paddle

from ppema.models import CNN


class Nested(paddle.nn.Layer):
    """BatchNorm, channel-wise dropout, code that reads `self.training`, and in a `cond` a dropout that does not."""

    def __init__(self, classes: int):
        super().__init__()
        self.norm = paddle.nn.BatchNorm2D(1)
        self.channels = paddle.nn.Dropout2D(0.5)
        self.linear = paddle.nn.Linear(64, classes)

    def forward(self, images):
        h = self.channels(self.norm(images)).flatten(1)
        h = paddle.static.nn.cond(
            h.mean() > 0,
            lambda: paddle.nn.functional.dropout(h, 0.5),
            lambda: paddle.nn.functional.dropout(h, 0.3, training=self.training) * 1.0,
        )
        return self.linear(h) * (2.0 if self.training else 1.0)


class AlwaysTraining(paddle.nn.Layer):
    """Dropout and BatchNorm by functions that are called with training=True in any mode."""

    def __init__(self):
        super().__init__()
        self.norm = paddle.nn.BatchNorm1D(64)
        self.linear = paddle.nn.Linear(64, 10)

    def forward(self, images):
        h, norm = images.flatten(1), self.norm
        h = paddle.nn.functional.batch_norm(h, norm._mean, norm._variance, norm.weight, norm.bias, training=True)
        return self.linear(paddle.nn.functional.dropout(h, 0.5))


class AlwaysRandom(paddle.nn.Layer):
    """Noise in test mode too."""

    def __init__(self):
        super().__init__()
        self.linear = paddle.nn.Linear(64, 10)

    def forward(self, images):
        return self.linear(images.flatten(1) * paddle.uniform([64]))


class NormInBranch(paddle.nn.Layer):
    """BatchNorm and a linear layer in the two branches of a `cond`, each of which some batches take."""

    def __init__(self):
        super().__init__()
        self.norms = paddle.nn.LayerList([paddle.nn.BatchNorm1D(64) for _ in range(2)])
        self.linear = paddle.nn.Linear(64, 10)

    def forward(self, images):
        h = images.flatten(1)
        first, second = self.norms
        taken = h[0, 10] + h[0, 20] > 1.0
        return paddle.static.nn.cond(taken, lambda: self.linear(first(h)), lambda: self.linear(second(h) * 2.0))


class NormTwice(paddle.nn.Layer):
    """One BatchNorm in two places."""

    def __init__(self):
        super().__init__()
        self.norm = paddle.nn.BatchNorm1D(64)
        self.linear = paddle.nn.Linear(64, 10)

    def forward(self, images):
        return self.linear(self.norm(self.norm(images.flatten(1)) + 1.0))


class BatchStatistics(paddle.nn.Layer):
    """BatchNorm that uses the batch's statistics and updates its own, in evaluation too."""

    def __init__(self):
        super().__init__()
        self.norm = paddle.nn.BatchNorm1D(64, use_global_stats=False)
        self.linear = paddle.nn.Linear(64, 10)

    def forward(self, images):
        return self.linear(self.norm(images.flatten(1)))


class Counter(paddle.nn.Layer):
    """A buffer that counts calls, also in evaluation."""

    def __init__(self):
        super().__init__()
        zero = paddle.nn.initializer.Constant(0.0)
        self.calls = self.create_parameter([1], attr=paddle.ParamAttr(trainable=False), default_initializer=zero)
        self.linear = paddle.nn.Linear(64, 10)

    def forward(self, images):
        paddle.assign(self.calls + 1.0, output=self.calls)
        return self.linear(images.flatten(1))


class CountsTraining(Counter):
    """A buffer that counts the batches of training."""

    def forward(self, images):
        return super().forward(images) if self.training else self.linear(images.flatten(1))


class PartlyAveraged(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.linear = paddle.nn.Linear(64, 10, bias_attr=paddle.ParamAttr(do_model_average=False))

    def forward(self, images):
        return self.linear(images.flatten(1))


class PartlyFrozen(paddle.nn.Layer):
    """A frozen first layer, and BatchNorm with fixed statistics."""

    def __init__(self):
        super().__init__()
        self.first = paddle.nn.Linear(64, 64, weight_attr=paddle.ParamAttr(trainable=False))
        self.fixed = paddle.nn.BatchNorm1D(64, use_global_stats=True)
        self.moving = paddle.nn.BatchNorm1D(64)
        self.linear = paddle.nn.Linear(64, 10)

    def forward(self, images):
        return self.linear(self.moving(self.fixed(self.first(images.flatten(1)))))


class MarkedFrozen(paddle.nn.Layer):
    """A first layer whose parameters are marked after creation, one by the constructor and one by forward."""

    def __init__(self):
        super().__init__()
        self.first = paddle.nn.Linear(64, 64)
        self.first.weight.trainable = False
        self.head = paddle.nn.Linear(64, 10)

    def forward(self, images):
        self.first.bias.trainable = False
        return self.head(paddle.nn.functional.relu(self.first(images.flatten(1))))


class AllFrozen(MarkedFrozen):
    """All parameters are frozen."""

    def __init__(self):
        super().__init__()
        for parameter in self.head.parameters():
            parameter.trainable = False


class SharedByName(paddle.nn.Layer):
    """Two layers that share one variable as their weight."""

    def __init__(self):
        super().__init__()
        attribute = paddle.ParamAttr(name="shared")
        self.layers = paddle.nn.LayerList([paddle.nn.Linear(64, 64, weight_attr=attribute) for _ in range(2)])
        self.head = paddle.nn.Linear(64, 10)

    def forward(self, images):
        h = images.flatten(1)
        for layer in self.layers:
            h = paddle.nn.functional.relu(layer(h))
        return self.head(h)


class Wrapped(paddle.nn.Layer):
    """A layer, followed by another model as a part."""

    def __init__(self):
        super().__init__()
        self.first = paddle.nn.Linear(8, 8)
        self.inner = CNN(1, 3, [4])

    def forward(self, images):
        return self.inner(self.first(images))


class OfType(paddle.nn.Layer):
    """A weight of the given type, cast to float32 since a CPU has few half kernels; and BatchNorm."""

    def __init__(self, dtype: str, classes: int):
        super().__init__()
        self.norm = paddle.nn.BatchNorm1D(64)
        zero = paddle.nn.initializer.Constant(0.0)
        self.weight = self.create_parameter([64, classes], dtype=dtype, default_initializer=zero)

    def forward(self, images):
        return paddle.matmul(self.norm(images.flatten(1)), paddle.cast(self.weight, "float32"))


class Unstable(paddle.nn.Layer):
    """A model whose variables in training and in evaluation differ."""

    def __init__(self):
        super().__init__()
        Unstable.made = getattr(Unstable, "made", 0) + 1
        self.linear = paddle.nn.Linear(64, 10 + Unstable.made % 2)

    def forward(self, images):
        return self.linear(images.flatten(1))


class ZeroHead(paddle.nn.Layer):
    """A last layer with zeros as initial weights, as in vision transformers."""

    def __init__(self):
        super().__init__()
        zero = paddle.nn.initializer.Constant(0.0)
        self.first = paddle.nn.Linear(64, 32)
        self.head = paddle.nn.Linear(32, 10, weight_attr=paddle.ParamAttr(initializer=zero))

    def forward(self, images):
        return self.head(paddle.nn.functional.relu(self.first(images.flatten(1))))


class Centred(paddle.nn.Layer):
    """Predictions that depend on the mean of the batch."""

    def __init__(self):
        super().__init__()
        self.linear = paddle.nn.Linear(64, 10)

    def forward(self, images):
        predictions = self.linear(images.flatten(1))
        return predictions - predictions.mean(axis=0)


class StaticHead(paddle.nn.Layer):
    """A layer of paddle.static.nn, which has no place in the model."""

    def forward(self, images):
        return paddle.static.nn.fc(images.flatten(1), 10)


class TwoOutputs(paddle.nn.Layer):
    def forward(self, images):
        return images, images


class Recorded(paddle.nn.Sequential):
    """The model of tests/weights/golden/official.json, with its names of variables: BatchNorm1D(3) and fc(2)."""

    def __init__(self):
        weight, bias = (paddle.ParamAttr(name=name) for name in ("fc_0.w_0", "fc_0.b_0"))
        super().__init__(paddle.nn.BatchNorm1D(3), paddle.nn.Linear(3, 2, weight_attr=weight, bias_attr=bias))


def raising_model():
    raise RuntimeError("no weights\ntoday")


def not_a_layer():
    return 5


class WithUnusedHead(paddle.nn.Layer):
    """A linear classifier of flat images with a second head, whose output nothing uses."""

    def __init__(self, features: int, classes: int):
        super().__init__()
        self.head = paddle.nn.Linear(features, classes)
        self.unused = paddle.nn.Linear(features, classes)

    def forward(self, images):
        flat = paddle.flatten(images, 1)
        return {"used": self.head(flat), "unused": self.unused(flat)}


class Counting(paddle.nn.Layer):
    """Counts the samples of class 1 among its inputs, whose first column says so: a rank sees only its own."""

    def __init__(self):
        super().__init__()
        self.norm = paddle.nn.BatchNorm1D(2)
        self.linear = paddle.nn.Linear(2, 2)
        self.seen = self.create_parameter([1], dtype="int64", default_initializer=paddle.nn.initializer.Constant(0))
        self.seen.stop_gradient = True

    def forward(self, x):
        if self.training:
            paddle.assign(self.seen + paddle.cast(x[:, :1] > 0.5, "int64").sum(axis=0), output=self.seen)
        return self.linear(self.norm(x))
