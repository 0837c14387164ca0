"""Mixup and cutmix: mixed batches and their losses, and runs that mix."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from support.configs import SMALL, blobs, data_section, loader

from ppema.api import train
from ppema.config.sections.mix import Mix
from ppema.data import Field
from ppema.data.transforms.mix_draw import MixDraw
from ppema.errors import ConfigError
from ppema.ir import backend
from ppema.log.run import run as read_run
from ppema.programs.device import place_of
from ppema.programs.executor import Executor
from ppema.programs.model.forward import forward
from ppema.programs.model.mixing import Mixing
from ppema.training.setup import prepare_training

SECTIONS = {
    "model": "support.task_models.Pixels",
    "mix": "{mixup: 1.0, cutmix: 1.0}",
    "optimizer": "SGD",
    "lr": "0.1",
    "averages": "{ema: {decay: 0.9}}",
    "train": "{epochs: 2, log_every: 5 steps, save_every: 5 steps}",
}


@pytest.fixture
def written(tmp_path):
    def write(*overrides, folder="run", **sections):
        return loader(tmp_path, SMALL, **{**SECTIONS, **sections})(f"output={tmp_path / folder}", *overrides)

    return write


FIELDS = (Field((2, 3, 3), "float32", "input_0"), Field((), "int64", "target", is_target=True))


@pytest.mark.parametrize("loss", ["cross_entropy", "{name: cross_entropy, args: {label_smoothing: 0.1}}"])
def test_the_mixed_loss_is_that_of_soft_targets(written, loss):
    """Against numpy in float64, from the logits, which are mixed pixels."""
    main, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
    config = written(loss=loss)
    mixing = Mixing.of(config, FIELDS)
    with backend().fresh_names(), paddle.static.program_guard(main, startup), paddle.static.scope_guard(scope):
        made = forward(config, FIELDS, train=True)
        fetched = [made.outputs["output"], made.objective.total()[0]]
        executor = Executor(place_of("cpu"), scope)
        executor.once(startup, {})
        generator = np.random.default_rng(0)
        images = generator.normal(size=(5, 2, 3, 3)).astype(np.float32)
        labels = generator.integers(6, size=5)
        smoothing = 0.1 if "smoothing" in loss else 0.0
        kinds = set()
        for seed in range(12):
            drawn = MixDraw.of(mixing.spec, mixing.size, seed)
            kinds.add((drawn.blend < 1, drawn.box != (0, 0, 0, 0)))
            feed = {"input_0": images, "target": labels, **mixing.feed(seed, 5)}
            logits, found = executor.run(main, feed, fetched)
            top, bottom, left, right = drawn.box
            blend = np.float64(np.float32(drawn.blend))
            mixed = blend * images + (1 - blend) * images[::-1]
            mixed[:, :, top:bottom, left:right] = images[::-1, :, top:bottom, left:right]
            np.testing.assert_allclose(logits, mixed.reshape(5, -1)[:, :6], atol=1e-6)
            soft = drawn.share * np.eye(6)[labels] + (1 - drawn.share) * np.eye(6)[labels[::-1]]
            soft = (1 - smoothing) * soft + smoothing / 6
            wide = logits.astype(np.float64)
            expected = -(soft * (wide - np.log(np.exp(wide).sum(1, keepdims=True)))).sum(1).mean()
            assert abs(float(found) - expected) < 1e-6
        assert kinds >= {(True, False), (False, True)}


def test_weights_of_classes_go_with_their_labels(written):
    """λ·w·l + (1 - λ)·w'·l', over the sum of λ·w + (1 - λ)·w'."""
    main, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
    weights = np.array([1, 2, 3, 4, 5, 6]) / 4
    config = written(loss=f"{{name: cross_entropy, args: {{class_weights: {weights.tolist()}}}}}", mix="{mixup: 1.0}")
    mixing = Mixing.of(config, FIELDS)
    with backend().fresh_names(), paddle.static.program_guard(main, startup), paddle.static.scope_guard(scope):
        made = forward(config, FIELDS, train=True)
        executor = Executor(place_of("cpu"), scope)
        total = made.objective.total()[0]
        executor.once(startup, {})
        images = np.random.default_rng(0).normal(size=(5, 2, 3, 3)).astype(np.float32)
        labels = np.array([0, 5, 2, 3, 3])
        feed = {"input_0": images, "target": labels, **mixing.feed(3, 5)}
        logits, found = executor.run(main, feed, [made.outputs["output"], total])
    share, wide = MixDraw.of(mixing.spec, mixing.size, 3).share, logits.astype(np.float64)
    logs = wide - np.log(np.exp(wide).sum(1, keepdims=True))
    own, other = ((weights[each], -logs[np.arange(5), each]) for each in (labels, labels[::-1]))
    above = share * (own[0] * own[1]).sum() + (1 - share) * (other[0] * other[1]).sum()
    below = share * own[0].sum() + (1 - share) * other[0].sum()
    assert abs(float(found) - above / below) < 1e-6


MASKED = (
    Field((2, 3), "float32", "image"),
    Field((2, 3), "float32", "mask"),
    Field((4,), "int64", "tokens"),
    Field((), "int64", "target", is_target=True),
)


def test_only_the_named_inputs_are_mixed(written):
    """A mask of zeros and ones beside the image stays one, and tokens are allowed."""
    main, scope = paddle.static.Program(), paddle.static.Scope()
    mixing = Mixing.of(written().replace(mix=Mix(mixup=1.0, inputs=("image",))), MASKED)
    with backend().fresh_names(), paddle.static.program_guard(main):
        inputs = {each.name: paddle.static.data(each.name, [-1, *each.shape], each.dtype) for each in MASKED[:3]}
        mixed, _ = mixing.batch(inputs, {})
    assert list(mixed) == ["image", "mask", "tokens"]
    assert mixed["mask"] is inputs["mask"] and mixed["tokens"] is inputs["tokens"]
    image, feed = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32), mixing.feed(0, 5)
    del feed["mix.share"]
    (found,) = Executor(place_of("cpu"), scope).run(main, {"image": image, **feed}, [mixed["image"]])
    blend = feed["mix.blend"].astype(np.float64)
    np.testing.assert_allclose(found, blend * image + (1 - blend) * image[::-1], atol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (None, "mix.inputs: the data has several inputs, image, mask, tokens: name those to mix, as in inputs: [image]"),
        (("imag",), "mix.inputs: no input 'imag'; did you mean 'image'?"),
        (("image", "tokens"), "mix.inputs: the input tokens, int64 [4], can not be mixed: only float32 can"),
    ],
)
def test_inputs_that_can_not_be_chosen(written, inputs, message):
    with pytest.raises(ConfigError) as caught:
        Mixing.of(written().replace(mix=Mix(mixup=0.2, inputs=inputs)), MASKED)
    assert str(caught.value).endswith(message) and "mix.mix" not in str(caught.value)


def final(config) -> dict[str, bytes]:
    train(config)
    return {name: array.tobytes() for name, array in read_run(config.output).last.arrays("raw").items()}


def test_runs(written):
    """Mixing changes a run; with λ = 1 it does not, bit for bit. A run that is interrupted ends with the same bits."""
    data = data_section(blobs("samples: 40, batch_size: 8"), blobs("samples: 8, batch_size: 8", "test"))
    plain = final(written("mix=null", folder="plain", data=data))
    assert final(written("mix.prob=0", folder="none", data=data)) == plain
    mixed = final(written(folder="mixed", data=data))
    assert mixed != plain
    train(written("train.stop_after=7 steps", folder="cut", data=data))
    assert final(written(folder="cut", data=data)) == mixed


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"loss": "support.losses.scalar_loss"},
            "loss: mix requires a loss that returns one value for each sample; this one returns one for the batch",
        ),
        (
            {"data": data_section(*["{name: synthetic, samples: 9, shape: [64], classes: 3, batch_size: 3}"] * 2)},
            "mix.cutmix: requires images [C, H, W] of one size, the input input_0 is float32 [64]",
        ),
    ],
)
def test_what_can_not_be_mixed_is_refused(written, sections, message):
    with pytest.raises(ConfigError) as caught:
        prepare_training(written(**sections))
    assert str(caught.value).split(": ", 1)[1] == message or str(caught.value).endswith(message)


@pytest.mark.parametrize(
    ("fields", "cutmix", "message"),
    [
        ([Field((5,), "int64", "tokens")], None, "mix.inputs: the input tokens, int64 [5], can not be mixed: only float32 can"),
        (
            [Field((3, 4, 4), "float32", "image"), Field((4, 4), "int64", "mask", is_target=True)],
            1.0,
            "mix.cutmix: requires one class or vector for each image, the target mask is int64 [4, 4]",
        ),
    ],
)
def test_fields_that_can_not_be_mixed(written, fields, cutmix, message):
    config = written().replace(mix=Mix(mixup=0.2, cutmix=cutmix))
    with pytest.raises(ConfigError) as caught:
        Mixing.of(config, fields)
    assert str(caught.value).endswith(message)
