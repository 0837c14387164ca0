"""What test configs name by dotted path: models, losses, metrics and data sets, good and bad."""

from __future__ import annotations

import numpy as np
import paddle

from ppema.models import CNN


class Nested(paddle.nn.Layer):
    """BatchNorm, channel-wise dropout, code that asks `self.training`, and in a `cond` a dropout that does not ask."""

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
    """Dropout and BatchNorm by functions that are told to train, whatever the mode."""

    def __init__(self):
        super().__init__()
        self.norm = paddle.nn.BatchNorm1D(64)
        self.linear = paddle.nn.Linear(64, 10)

    def forward(self, images):
        h, norm = images.flatten(1), self.norm
        h = paddle.nn.functional.batch_norm(h, norm._mean, norm._variance, norm.weight, norm.bias, training=True)
        return self.linear(paddle.nn.functional.dropout(h, 0.5))


class AlwaysRandom(paddle.nn.Layer):
    """Noise that no test mode stops."""

    def __init__(self):
        super().__init__()
        self.linear = paddle.nn.Linear(64, 10)

    def forward(self, images):
        return self.linear(images.flatten(1) * paddle.uniform([64]))


class NormInBranch(paddle.nn.Layer):
    """BatchNorm and a linear layer in the branches of a `cond`, both of which are taken now and then."""

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
    """BatchNorm that uses and moves its statistics in evaluation too."""

    def __init__(self):
        super().__init__()
        self.norm = paddle.nn.BatchNorm1D(64, use_global_stats=False)
        self.linear = paddle.nn.Linear(64, 10)

    def forward(self, images):
        return self.linear(self.norm(images.flatten(1)))


class Counter(paddle.nn.Layer):
    """A buffer that counts calls, in evaluation too."""

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


class SharedByName(paddle.nn.Layer):
    """Two layers whose weight is one variable."""

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
    """Another model as a part, after a layer of its own."""

    def __init__(self):
        super().__init__()
        self.first = paddle.nn.Linear(8, 8)
        self.inner = CNN(1, 3, [4])

    def forward(self, images):
        return self.inner(self.first(images))


class OfType(paddle.nn.Layer):
    """A weight of the given type, cast for use, as a CPU computes little else in half types; and BatchNorm."""

    def __init__(self, dtype: str, classes: int):
        super().__init__()
        self.norm = paddle.nn.BatchNorm1D(64)
        zero = paddle.nn.initializer.Constant(0.0)
        self.weight = self.create_parameter([64, classes], dtype=dtype, default_initializer=zero)

    def forward(self, images):
        return paddle.matmul(self.norm(images.flatten(1)), paddle.cast(self.weight, "float32"))


class Unstable(paddle.nn.Layer):
    """Other variables in training than in evaluation."""

    def __init__(self):
        super().__init__()
        Unstable.made = getattr(Unstable, "made", 0) + 1
        self.linear = paddle.nn.Linear(64, 10 + Unstable.made % 2)

    def forward(self, images):
        return self.linear(images.flatten(1))


class ZeroHead(paddle.nn.Layer):
    """A last layer that begins with zeros, as those of vision transformers do."""

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


class TwoOutputs(paddle.nn.Layer):
    def forward(self, images):
        return images, images


def raising_model():
    raise RuntimeError("no weights\ntoday")


def not_a_layer():
    return 5


class Noisy:
    """16 samples of shape [4] that draw from numpy's global generator."""

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
    """Raises at sample `at`."""

    def __init__(self, at: int):
        self.at = at

    def __len__(self):
        return 40

    def __getitem__(self, index):
        if index == self.at:
            raise OSError("the disk\nis gone")
        return np.full(4, index, "float32"), np.int64(index % 2)


class Labels:
    """40 samples whose label is 0, but for sample `at`, whose label is `label`."""

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
    """Ends its process at sample 5."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        if index == 5:
            import os

            os._exit(7)
        return np.zeros(4, "float32"), np.int64(0)


def nan_loss(predictions, targets):
    return predictions.mean(axis=1) * float("nan")


def numpy_loss(predictions, targets):
    return np.zeros(3, "float32")


def scalar_loss(predictions, targets):
    return paddle.nn.functional.cross_entropy(predictions, targets)


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


class StaticHead(paddle.nn.Layer):
    """A layer of paddle.static.nn, which has no place in the model."""

    def forward(self, images):
        return paddle.static.nn.fc(images.flatten(1), 10)


class AllFrozen(MarkedFrozen):
    """Nothing is left to train."""

    def __init__(self):
        super().__init__()
        for parameter in self.head.parameters():
            parameter.trainable = False


def rooted_loss(predictions, targets):
    """The root of a mean: with one sample a batch, the mean of roots."""
    one_hot = paddle.nn.functional.one_hot(targets, predictions.shape[-1])
    return paddle.sqrt(paddle.square(predictions - one_hot).mean())


def summed_loss(predictions, targets):
    return paddle.nn.functional.cross_entropy(predictions, targets, reduction="sum")


def weighted_loss(predictions, targets):
    """A mean whose weights are the classes': Σ w·l / Σ w over the batch."""
    weights = paddle.cast(targets, "float32") + 1.0
    each = paddle.nn.functional.cross_entropy(predictions, targets, reduction="none").reshape([-1])
    return (weights * each).sum() / weights.sum()


def contrastive_loss(predictions, targets):
    """One value per sample, each against all samples of the batch."""
    similar = paddle.matmul(predictions, predictions, transpose_y=True)
    return paddle.logsumexp(similar, axis=1) - paddle.square(predictions).sum(axis=1)


def in_batch_loss(predictions, targets):
    """The values of those samples whose class is below 5."""
    each = paddle.nn.functional.cross_entropy(predictions, targets, reduction="none").reshape([-1])
    return paddle.masked_select(each, targets < 5)


def macro_f1(predictions, targets):
    """The mean of the classes' F1 over the batch."""
    classes = predictions.shape[-1]
    guessed = paddle.nn.functional.one_hot(paddle.argmax(predictions, axis=-1), classes)
    true = paddle.nn.functional.one_hot(targets, classes)
    return (2 * (guessed * true).sum(axis=0) / (guessed.sum(axis=0) + true.sum(axis=0) + 1e-9)).mean()


def f1_for_each(predictions, targets):
    """The same number for each sample of the batch."""
    return macro_f1(predictions, targets) + paddle.zeros_like(predictions[:, 0])


def of_some(predictions, targets):
    return paddle.masked_select(predictions[:, 0], targets > 2)


class HalvedEvery(paddle.optimizer.lr.StepDecay):
    """A schedule of one's own."""
