"""Inputs that programs normalise: the numbers of a run, where they are kept, and who uses them."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from safetensors.numpy import save_file
from support.configs import SMALL, blobs, loader
from support.datasets import Listed

from ppema.api import average, evaluate, export, predict, train
from ppema.config.sections.normalize import Normalization
from ppema.data import Field, build_dataset
from ppema.errors import CheckpointError, ConfigError
from ppema.evaluation import prepared
from ppema.ir import backend
from ppema.log.run import run as read_run
from ppema.programs.device import place_of
from ppema.programs.executor import Executor
from ppema.programs.loaders import eval_loader, train_loader
from ppema.programs.model.forward import forward
from ppema.programs.model.normalization import measured
from ppema.training.setup import prepare_training
from ppema.weights.file import numbers_in, write_weights

SPLIT = f"\n  train: {blobs('samples: 50, batch_size: 8')}\n  split: {{fraction: 0.2}}\n  normalize: true"
SECTIONS = {
    "model": "support.task_models.Pixels",
    "data": SPLIT,
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


def raw(config) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in read_run(config.output).last.arrays("raw").items()}


def test_a_run_keeps_the_numbers_of_its_training_samples(written, monkeypatch):
    """Without those of its evaluation. Evaluations and resumed runs use them, and read no training samples for it."""
    config = written()
    result = train(config)
    kept = read_run(config.output).config.data.normalize["input_0"]
    images = build_dataset(config.data.train).arrays[0][eval_loader(config).others].astype(np.float64)
    assert len(images) == 40
    assert [np.float32(kept.mean[0]), np.float32(kept.std[0])] == [np.float32(images.mean()), np.float32(images.std())]
    assert read_run(config.output).last.manifest.config["data"]["normalize"] == {"input_0": kept.model_dump(mode="json")}

    def reads(*args):
        raise AssertionError("the training samples are read again")

    with monkeypatch.context() as patch:
        patch.setattr(prepared, "train_loader", reads)
        assert evaluate(config) == evaluate(read_run(config.output).config) == result.metrics
        # As ppema.average does, which names no checkpoint.
        assert prepared.prepare_evaluation(config).config.data.normalize == {"input_0": kept}
    cut = written("train.stop_after=3 steps", folder="cut")
    train(cut)
    train(written(folder="cut"))
    assert raw(cut) == raw(config)


def test_a_run_whose_samples_have_changed_goes_on_with_its_numbers(written, tmp_path):
    generator = np.random.default_rng(0)
    x, y = generator.normal(2.0, 3.0, (20, 7)).astype(np.float32), np.arange(20) % 6
    np.savez(tmp_path / "a.npz", x=x, y=y)
    data = (
        f"\n  train: {{name: npz, path: {tmp_path / 'a.npz'}, batch_size: 5}}\n  split: {{fold: 0, of: 2}}\n  normalize: true"
    )
    config = written("train.stop_after=1 epoch", data=data)
    train(config)
    before = read_run(config.output).config.data.normalize
    assert len(before["input_0"].mean) == 7
    np.savez(tmp_path / "a.npz", x=2 * x, y=y)
    train(written(data=data))
    said = "warning: the training samples or the transforms of data.eval have changed: data.normalize goes on with the numbers"
    assert f"{said} of input_0 from before" in (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")
    assert read_run(config.output).config.data.normalize == before


def test_files_of_weights_hold_the_numbers(written, tmp_path, monkeypatch):
    """So that weights are never evaluated with those of another run."""
    config = written("train.stop_after=2 steps")
    train(config)
    file, again = tmp_path / "raw.safetensors", tmp_path / "again.safetensors"
    export(config, file)
    export(config, again, weights=file)
    numbers = read_run(config.output).config.data.normalize
    (averaged,) = average(config, last_checkpoints=1).files
    assert numbers_in(file) == numbers_in(again) == numbers_in(averaged) == numbers
    (expected,) = evaluate(config, "raw").values()

    def reads(*args):
        raise AssertionError("the training samples are read again")

    with monkeypatch.context() as patch:
        patch.setattr(prepared, "train_loader", reads)
        assert evaluate(written(folder="other"), file) == {str(file): expected}
    for other in ("false", "{input_0: {mean: [0.5], std: [2.0]}}", "[input_1]"):
        with pytest.raises(ConfigError) as caught:
            evaluate(written(f"data.normalize={other}"), file)
        assert str(caught.value).endswith(f"data.normalize: not that of the weights in {file}: give true, for theirs")
    write_weights(again, {"w": np.zeros(1)}, step=1, what="x", numbers=None)
    assert numbers_in(again) is None
    save_file({"w": np.zeros(1)}, again, metadata={"normalize": '{"x": 1}'})
    with pytest.raises(
        CheckpointError, match='again.safetensors: the numbers in its metadata `normalize` can not be read: {"x'
    ):
        numbers_in(again)


def test_weights_that_were_trained_without_numbers_do_not_get_any(written, tmp_path):
    """They would be measured and applied in silence, in evaluation, prediction and export alike."""
    train(written("data.normalize=false", "train.stop_after=1 steps"))
    uses = (evaluate, lambda config: export(config, tmp_path / "model", format="paddle"))
    for use in (*uses, lambda config: predict(config, "data.eval")):
        with pytest.raises(ConfigError, match=r"data\.normalize: not that of the weights in .*: give false, as in training$"):
            use(written())


def test_transforms_of_evaluations_that_do_not_fit_training_samples_are_named(written, tmp_path):
    """The samples of training have one channel, of which a transform makes three."""
    for name, channels in (("train", 1), ("eval", 3)):
        np.savez(tmp_path / f"{name}.npz", x=np.ones((4, channels, 3, 3), np.float32), y=np.arange(4))
    train, evaluated = (f"name: npz, path: {tmp_path / name}.npz, batch_size: 2" for name in ("train", "eval"))
    three = "transforms: [{name: Grayscale, args: {num_output_channels: 3}}]"
    scale = "transforms: [{name: Normalize, args: {mean: [1, 2, 3], std: 1}}]"
    data = f"\n  train: {{{train}, {three}}}\n  eval: {{{evaluated}, {scale}}}\n  normalize: true"
    with pytest.raises(ConfigError) as caught:
        prepare_training(written(data=data))
    assert "data.eval.transforms.0: input_0: 3 numbers for samples of shape [1, 3, 3]" in str(caught.value)


FIELDS = (Field((2, 3, 3), "float32", "input_0"), Field((), "int64", "target", is_target=True))


def test_programs_normalise_each_channel(written):
    mean, std = np.array([1.0, -2.0]), np.array([0.5, 4.0])
    numbers = {"input_0": Normalization(mean=tuple(mean), std=tuple(std))}
    config = written()
    config = config.replace(data=config.data.replace(normalize=numbers))
    images = np.random.default_rng(0).normal(size=(4, 2, 3, 3)).astype(np.float32)
    main, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
    with backend().fresh_names(), paddle.static.program_guard(main, startup), paddle.static.scope_guard(scope):
        made = forward(config, FIELDS, train=False)
        executor = Executor(place_of("cpu"), scope)
        executor.once(startup, {})
        feed = {"input_0": images, "target": np.zeros(4, np.int64)}
        (found,) = executor.run(main, feed, [made.outputs["output"]])
    expected = (images.astype(np.float64) - mean[:, None, None]) / std[:, None, None]
    np.testing.assert_allclose(found, expected.reshape(4, -1)[:, :6], rtol=1e-6)


def test_the_samples_are_measured_with_the_transforms_of_evaluations(written):
    """Augmentation does not count, but a scale that both parts have does."""
    scale = "{name: Normalize, args: {mean: [1.0], std: [2.0]}}"
    train = blobs(f"samples: 50, batch_size: 8, transforms: [{{name: RandomErasing, args: {{p: 1.0}}}}, {scale}]")
    config = written(
        data=f"\n  train: {train}\n  split: {{fraction: 0.2}}\n  eval: {{transforms: [{scale}]}}\n  normalize: true"
    )
    evaluated = eval_loader(config)
    numbers = measured(config, train_loader(config, evaluated)).data.normalize["input_0"]
    images = (build_dataset(config.data.train).arrays[0][evaluated.others].astype(np.float64) - 1) / 2
    np.testing.assert_allclose([*numbers.mean, *numbers.std], [images.mean(), images.std()], rtol=1e-6)


def test_an_input_of_varying_shape_needs_numbers(written):
    """Padding would count, and the mean would depend on the batches."""
    sample = "{samples: [[[1.5, 2.5], 0], [[3.5], 1]]}"
    train = f"{{name: programs.model.test_normalization.sounds, args: {sample}, batch_size: 2}}"
    data = f"\n  train: {train}\n  eval: {train}\n  shapes: {{input_0: [-1]}}\n  collate: {{name: pad}}\n  normalize: true"
    with pytest.raises(ConfigError) as caught:
        prepare_training(written(data=data))
    assert str(caught.value).endswith(
        "data.normalize: the shape of input_0 differs between batches, and padding would count: give its mean and std, or a "
        "list of other inputs"
    )


def sounds(samples):
    return Listed(*(tuple(each) for each in samples))


@pytest.mark.parametrize(
    ("normalize", "message"),
    [
        ("[image]", "data.normalize: no input 'image'; there are input_0"),
        ("[target]", "data.normalize: no input 'target'; there are input_0"),
        (
            "{input_0: {mean: [1, 2], std: [1, 1]}}",
            "data.normalize.input_0.mean: expected one number for float32 [1, 8, 8], got 2",
        ),
    ],
)
def test_numbers_and_names_that_do_not_fit(written, normalize, message):
    with pytest.raises(ConfigError) as caught:
        prepare_training(written(f"data.normalize={normalize}"))
    assert str(caught.value).endswith(message)


def test_a_constant_channel_is_reported(written, tmp_path):
    x = np.stack([np.arange(8), np.full(8, 3), np.arange(8), np.full(8, 0.1), *[np.arange(8)] * 3], axis=1).astype(np.float32)
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(8) % 2)
    data = (
        f"\n  train: {{name: npz, path: {tmp_path / 'a.npz'}, batch_size: 2}}\n  split: {{fold: 0, of: 2}}\n  normalize: true"
    )
    with pytest.warns(UserWarning, match=r"data\.normalize: input_0 is constant in channel 1, 3: its deviation counts as 1"):
        run = prepare_training(written(data=data))
    assert run.config.data.normalize["input_0"].std[1] == 1
