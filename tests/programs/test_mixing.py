"""Mixup and cutmix: their draws, what they make of a batch and its loss, and runs that mix."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from support.configs import SMALL, blobs, data_section, write_config

from ppema.api import train
from ppema.config import load_config
from ppema.config.sections.mix import Mix
from ppema.data import Field
from ppema.errors import ConfigError
from ppema.ir import backend
from ppema.log.run import run as read_run
from ppema.programs.device import place_of
from ppema.programs.executor import Executor
from ppema.programs.forward import forward
from ppema.programs.mixing import Draw, Mixing
from ppema.training.setup import prepare_training

SIZE = (7, 9)


def draws(spec: Mix, count: int = 4000) -> list[Draw]:
    mixing = Mixing(spec, SIZE if spec.cutmix is not None else None)
    return [mixing.draw(seed) for seed in range(count)]


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_the_share_of_mixup_is_beta_distributed(alpha):
    """Mean 1/2, variance 1 / (4·(2α + 1)), fourth central moment by Beta's kurtosis. Bounds: five standard errors."""
    shares = np.array([each.share for each in draws(Mix(mixup=alpha))])
    assert [each.blend for each in draws(Mix(mixup=alpha), 9)] == shares[:9].tolist()
    variance = 1 / (4 * (2 * alpha + 1))
    fourth = 3 * variance**2 * (2 * alpha + 1) / (2 * alpha + 3)
    assert abs(shares.mean() - 0.5) < 5 * np.sqrt(variance / 4000)
    assert abs(shares.var() - variance) < 5 * np.sqrt((fourth - variance**2) / 4000)


def test_the_share_of_cutmix_is_the_area_outside_of_its_box():
    drawn = draws(Mix(cutmix=1.0))
    for each in drawn:
        top, bottom, left, right = each.box
        assert 0 <= top <= bottom <= 7 and 0 <= left <= right <= 9
        assert each.blend == 1
        assert each.share == 1 - (bottom - top) * (right - left) / 63
    inside = np.zeros(SIZE)
    for top, bottom, left, right in (each.box for each in drawn):
        inside[top:bottom, left:right] += 1
    assert inside.min() > 0


def test_how_often_each_is_chosen():
    drawn = draws(Mix(mixup=1.0, cutmix=1.0, prob=0.6, switch=0.25))
    none = np.mean([each == Draw() for each in drawn])
    mixup = np.mean([each.blend < 1 for each in drawn])
    assert abs(mixup - 0.45) < 0.04
    # A box of no pixels is drawn too, for shares near 1.
    assert 0.38 < none < 0.45
    assert drawn[:50] == draws(Mix(mixup=1.0, cutmix=1.0, prob=0.6, switch=0.25), 50)
    assert all(each == Draw() for each in draws(Mix(mixup=1.0, prob=0.0), 20))


SECTIONS = {
    "model": "support.models.Pixels",
    "mix": "{mixup: 1.0, cutmix: 1.0}",
    "optimizer": "SGD",
    "lr": "0.1",
    "averages": "{ema: {decay: 0.9}}",
    "train": "{epochs: 2, log_every: 5 steps, save_every: 5 steps}",
}


@pytest.fixture
def written(tmp_path):
    def write(*overrides, folder="run", **sections):
        file = write_config(tmp_path / "mix.yml", SMALL, **{**SECTIONS, **sections})
        return load_config(file, [f"output={tmp_path / folder}", *overrides])

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
            drawn = mixing.draw(seed)
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
    share, wide = mixing.draw(3).share, logits.astype(np.float64)
    logs = wide - np.log(np.exp(wide).sum(1, keepdims=True))
    own, other = ((weights[each], -logs[np.arange(5), each]) for each in (labels, labels[::-1]))
    above = share * (own[0] * own[1]).sum() + (1 - share) * (other[0] * other[1]).sum()
    below = share * own[0].sum() + (1 - share) * other[0].sum()
    assert abs(float(found) - above / below) < 1e-6


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
        ([Field((5,), "int64", "tokens")], None, "mix: the input tokens, int64 [5], can not be mixed: only float32 can"),
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
