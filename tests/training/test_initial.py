"""Runs with `init_from`: the scope before the first step, the messages, the refusals."""

from __future__ import annotations

import os
import shutil

import numpy as np
import paddle
import pytest
from safetensors.numpy import load_file, save_file
from support.configs import CNN, loader, write_config
from support.paddle_alone import save_dynamic, save_static
from support.runs import last

from ppema.checkpoint.store import Checkpoints
from ppema.config import RAW, load_config
from ppema.errors import ConfigError
from ppema.ir import backend, scope
from ppema.training.initial import begin_with
from ppema.training.loop import dry_run, train
from ppema.training.setup import prepare_training
from ppema.weights.file import write_weights

STATISTICS = {"batch_norm2d_0.w_1", "batch_norm2d_0.w_2"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The output folder of a run of 14 steps."""
    folder = tmp_path_factory.mktemp("trained")
    train(loader(folder, CNN)("seed=3"))
    return folder / "run"


@pytest.fixture
def config(tmp_path):
    return loader(tmp_path, CNN)


def begun(config, path, **keys):
    """The state, by part, of a new run of `config` with the weights at `path`, and the lines of its summary."""
    spec = ", ".join([f"path: {path}", *(f"{key}: {value}" for key, value in keys.items())])
    run = prepare_training(config(f"init_from={{{spec}}}"))
    restored = begin_with(run)
    return run.read(), restored


def same(ours, theirs):
    return ours.keys() == theirs.keys() and all(ours[n].tobytes() == theirs[n].tobytes() for n in ours)


@pytest.mark.parametrize("weights", ["raw", "ema", "measured"])
def test_a_checkpoints_weights_are_the_first_ones(config, trained, weights):
    fresh = prepare_training(config()).read()
    state, restored = begun(config, trained, weights=weights)
    expected = Checkpoints(trained / "checkpoints").find("last").weights(weights)
    assert same(state[RAW], expected) and not same(state[RAW], fresh[RAW])
    assert same(state["optimizer"], fresh["optimizer"])
    # Averages that correct for their bias begin with nothing, TensorFlow's with the weights, measured statistics with theirs.
    assert same(state["average-ema"], fresh["average-ema"])
    for average, begin in (("tensorflow", set(expected)), ("measured", STATISTICS)):
        shadows = state[f"average-{average}"]
        for name in expected:
            now = expected[name] if name in begin else fresh[f"average-{average}"][f"{name}.{average}"]
            assert shadows[f"{name}.{average}"].tobytes() == now.tobytes(), (average, name)
    assert len(restored.found.loaded) == 7


def test_after_a_step_the_average_of_tensorflow_holds_what_was_loaded(config, tmp_path, trained):
    train(config(f"init_from={{path: {trained}}}", "train.stop_after=1 step", "train.save_every=1 step"))
    before = Checkpoints(trained / "checkpoints").find("last").arrays(RAW)
    after = Checkpoints(tmp_path / "run/checkpoints").find("last")
    shadows, raw = after.arrays("average-tensorflow"), after.arrays(RAW)
    for name, value in before.items():
        expected = 0.9 * value.astype("float64") + 0.1 * raw[name]
        np.testing.assert_allclose(shadows[f"{name}.tensorflow"], expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("save", [save_dynamic, save_static])
def test_paddles_files_are_the_first_weights(config, tmp_path, save):
    save(tmp_path / "x.pdparams")
    state, restored = begun(config, tmp_path / "x.pdparams")
    theirs = np.load(tmp_path / "x.pdparams.npz")
    titles = restored.titles if save is save_dynamic else {name: name for name in state[RAW]}
    assert same(state[RAW], {name: theirs[titles[name]] for name in state[RAW]})


def test_other_programs_safetensors_are_the_first_weights(config, tmp_path, trained):
    """With other names, and in float16 and float64."""
    arrays = load_file(last(trained) / "raw.safetensors")
    of = {"backbone.conv.w": "conv2d_0.w_0", "fc.weight": "linear_0.w_0", "fc.bias": "linear_0.b_0"}
    stored = {new: arrays[old].astype("float16" if "fc" in new else "float64") for new, old in of.items()}
    save_file(stored, tmp_path / "x.safetensors")
    state, restored = begun(
        config,
        tmp_path / "x.safetensors",
        rename=r'{"^backbone\\.conv\\.w": "0.weight", "^fc": "5"}',
        exclude=r'["^1\\."]',
    )
    for new, old in of.items():
        assert state[RAW][old].tobytes() == stored[new].astype("float32").tobytes()
    assert restored.summary() == [
        f"init_from {tmp_path / 'x.safetensors'}: 3 of 7 variables loaded (0 transposed, 3 cast, 0 missing, 0 unexpected, "
        "0 misshaped, 4 left out, 0 ignored)",
        "init_from: cast: 0.weight (float64 → float32), 5.bias (float16 → float32), 5.weight (float16 → float32)",
        "init_from: left out: 1.bias, 1.weight, 1._mean, 1._variance",
    ]
    assert restored.rows()[-1] == ("linear_0.w_0", "loaded, float16 → float32", "fc.weight")


def test_bfloat16_of_other_programs_is_read(config, tmp_path):
    """Both as BF16, which safetensors' reader for numpy refuses, and as the bits in U16, which numpy writes for Paddle."""
    header = b'{"5.bias":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]},"x":{"dtype":"F16","shape":[],"data_offsets":[6,8]}}'
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\x80\x3f\x00\x40\x80\xbf\x00\x3c")
    state, restored = begun(config, tmp_path / "x.safetensors", strict="[misshaped]")
    assert state[RAW]["linear_0.b_0"].tolist() == [1, 2, -1]
    assert restored.found.unexpected == {"x": "[] float16"}
    (tmp_path / "x.safetensors").write_bytes((tmp_path / "x.safetensors").read_bytes().replace(b'"BF16"', b'"U16" '))
    assert begun(config, tmp_path / "x.safetensors", strict="[misshaped]")[0][RAW]["linear_0.b_0"].tolist() == [1, 2, -1]
    (tmp_path / "x.safetensors").write_bytes(
        len(header).to_bytes(8, "little") + header.replace(b'"BF16"', b'"F8_X"') + bytes(8)
    )
    with pytest.raises(ConfigError, match="x.safetensors: "):
        begun(config, tmp_path / "x.safetensors")


def half(tmp_path, dtype, optimizer):
    """A run of a model with a half weight whose initial value is `value`, its Restored, and `value` in float32."""
    model = f"{{name: support.models.OfType, args: {{dtype: {dtype}, classes: 3}}}}"
    value = np.linspace(-1, 1, 64 * 3, dtype="float32").reshape(64, 3)
    save_file({"weight": value}, tmp_path / "x.safetensors")
    spec = f"init_from={{path: {tmp_path / 'x.safetensors'}, include: [^weight$]}}"
    run = prepare_training(loader(tmp_path, CNN, model=model)(f"optimizer={optimizer}", spec))
    restored = begin_with(run)
    assert restored is not None
    (loaded,) = restored.found.loaded
    return run, loaded, value


MULTI = "{name: Momentum, args: {momentum: 0.9, multi_precision: true}}"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.skipif(
    paddle.framework.use_pir_api() and not paddle.is_compiled_with_cuda(),
    reason="Paddle 3 builds no optimizer of half weights, but for SGD's, where it has no GPU kernels",
)
def test_master_weights_and_their_averages_begin_with_what_is_loaded(tmp_path, dtype):
    """They keep the digits that the half type lacks."""
    run, loaded, value = half(tmp_path, dtype, MULTI)
    name = loaded.parameter.name
    master, _ = backend().master_weights(run.programs.train)[name]
    for each in (master, f"{name}.tensorflow"):
        assert scope.get(run.scope, each).tobytes() == value.tobytes()
    assert not scope.get(run.scope, f"{name}.ema").any()
    assert scope.get(run.scope, name).tobytes() == loaded.value.tobytes()


@pytest.mark.filterwarnings("ignore:Accumulating with FP16/BF16")
def test_averages_of_half_weights_without_masters_begin_with_the_rounded_value(tmp_path):
    run, loaded, value = half(tmp_path, "bfloat16", "SGD")
    name = loaded.parameter.name
    ours = scope.get(run.scope, name)
    widened = ours.astype("float32")
    assert ours.dtype == "bfloat16" and np.abs(widened - value).max() < 2**-8
    assert scope.get(run.scope, f"{name}.tensorflow").tobytes() == widened.tobytes() != value.tobytes()


@pytest.mark.filterwarnings("ignore:Accumulating with FP16/BF16")
def test_master_weights_are_found_on_every_paddle(config, trained, monkeypatch):
    """With float32 weights that Paddle takes for half ones: Paddle 3.3 on a CPU builds no such optimizer for half weights."""
    monkeypatch.setattr(paddle.optimizer.Optimizer, "_is_dtype_fp16_or_bf16", lambda self, dtype: True)
    run = prepare_training(config(f"optimizer={MULTI}", f"init_from={{path: {trained}}}"))
    masters = {name: master for name, (master, _) in backend().master_weights(run.programs.train).items()}
    assert len(masters) == 5
    begin_with(run)
    assert all(np.array_equal(scope.get(run.scope, name), scope.get(run.scope, master)) for name, master in masters.items())
    assert not np.array_equal(
        scope.get(run.scope, masters["linear_0.w_0"]), prepare_training(config()).read()[RAW]["linear_0.w_0"]
    )


@pytest.mark.parametrize("where", ["", "checkpoints", "checkpoints/last", "checkpoints/best", "checkpoints/step-00000014"])
def test_what_a_path_may_be(config, trained, tmp_path, where):
    shutil.copytree(trained, tmp_path / "other")
    shutil.copyfile(tmp_path / "other/checkpoints/last", tmp_path / "other/checkpoints/best")
    state, restored = begun(config, tmp_path / "other" / where)
    assert restored.source == f"{tmp_path / 'other/checkpoints/step-00000014'} (raw)"
    assert same(state[RAW], Checkpoints(trained / "checkpoints").find("last").arrays(RAW))


def test_a_model_inside_another_is_found_by_its_places(config, trained, tmp_path):
    """Its variables have other names in the outer model."""
    wrapped = loader(tmp_path, CNN, model="support.models.Wrapped")
    state, restored = begun(wrapped, trained, rename='{"^": "inner."}', exclude='["^first"]')
    expected = Checkpoints(trained / "checkpoints").find("last").arrays(RAW)
    assert state[RAW]["linear_1.w_0"].tobytes() == expected["linear_0.w_0"].tobytes()
    assert [each.name for each in restored.found.left] == ["linear_0.b_0", "linear_0.w_0"]


def lines(config, *overrides):
    with pytest.raises(ConfigError) as caught:
        train(config(*overrides))
    return str(caught.value).splitlines()


def test_what_is_wrong_is_said_before_anything_is_written(config, tmp_path, trained):
    write_config(tmp_path / "small.yml", CNN)
    shapes = "model.args.num_classes=5"
    said = lines(config, shapes, f"init_from={{path: {trained}}}", "data.train.classes=5", "data.eval.classes=5")
    assert said == [
        "override init_from: misshaped: the source's arrays do not fit 5.bias ([3] in the source, [5] in the model), "
        "5.weight ([4, 3] in the source, [4, 5] in the model): rename, transpose, exclude, or leave misshaped out of strict"
    ]
    assert lines(config, f"init_from={{path: {trained}, weights: other}}") == [
        f"override init_from: init_from.path: {trained}/checkpoints/step-00000014: there are no weights 'other'; there are "
        "raw, ema, tensorflow, measured"
    ]
    kinds = "name a checkpoint, a run's output folder with checkpoints, or a file *.safetensors or *.pdparams"
    assert lines(config, "init_from.path=nowhere") == [
        f"override init_from.path: nowhere: there is no such file or folder: {kinds} (looked at {os.getcwd()}/nowhere)"
    ]
    assert lines(config, f"init_from.path={tmp_path}") == [f"override init_from.path: {tmp_path}: it holds no weights: {kinds}"]
    assert lines(config, f"init_from={{path: {trained}, exclude: [a, '^5', head]}}") == [
        "override init_from: init_from.exclude.2: 'head' matches none of the model's 7 variables"
    ]
    (tmp_path / "x.pdparams").write_bytes(b"cos\nsystem\n(S'x'\ntR.")
    assert lines(config, f"init_from.path={tmp_path / 'x.pdparams'}") == [
        f"override init_from.path: {tmp_path / 'x.pdparams'}: it would call 'os.system', and only arrays are admitted"
    ]
    assert not (tmp_path / "run").exists()


def test_a_position_is_that_of_the_key(config, tmp_path, trained):
    file = write_config(tmp_path / "small.yml", CNN, init_from=f"\n  path: {trained}\n  rename:\n    '[05]': x")
    with pytest.raises(ConfigError) as caught:
        train(load_config(file, [f"output={tmp_path / 'run'}"]))
    assert str(caught.value) == (
        f"{file}:14:3: init_from.rename: '0.weight' and '5.weight' of the source both become 'x.weight'"
    )


def test_a_run_says_what_it_begins_with(config, tmp_path, trained, capsys):
    spec = f"init_from={{path: {trained}, weights: ema, exclude: ['^5']}}"
    train(config(spec, "train.epochs=1"))
    summary = [
        f"init_from {trained}/checkpoints/step-00000014 (ema): 5 of 7 variables loaded (0 transposed, 0 cast, 0 missing, "
        "0 unexpected, 0 misshaped, 2 left out, 0 ignored)",
        "init_from: left out: 5.bias, 5.weight",
    ]
    written = (tmp_path / "run/log.txt").read_text().splitlines()
    assert written[:9] == [
        *summary,
        "init_from: batch_norm2d_0.b_0  loaded  1.bias",
        "init_from: batch_norm2d_0.w_0  loaded  1.weight",
        "init_from: batch_norm2d_0.w_1  loaded  1._mean",
        "init_from: batch_norm2d_0.w_2  loaded  1._variance",
        "init_from: conv2d_0.w_0  loaded  0.weight",
        "init_from: linear_0.b_0  left out",
        "init_from: linear_0.w_0  left out",
    ]
    assert written[9].startswith(("step 5 ", "onednn: computes 1 conv2d"))
    assert capsys.readouterr().err.splitlines()[:2] == summary
    said = []
    dry_run(config(spec, f"output={tmp_path / 'other'}"), said.append)
    assert said[:2] == summary and said[2].startswith("learning rate: start ") and len(said) == 3
    assert not (tmp_path / "other").exists()
    # A run with checkpoints no longer needs it.
    said.clear()
    dry_run(config("init_from.path=gone"), said.append)
    assert len(said) == 1 and said[0].startswith("learning rate: start ")


def test_a_resumed_run_does_not_look_at_it_again(config, tmp_path, trained):
    shutil.copytree(trained, tmp_path / "source")
    spec = f"init_from={{path: {tmp_path / 'source'}}}"
    train(config(spec, f"output={tmp_path / 'whole'}"))
    train(config(spec, "train.stop_after=9 steps"))
    shutil.rmtree(tmp_path / "source")
    train(config(spec))
    ours, theirs = (load_file(last(tmp_path / name) / "raw.safetensors") for name in ("run", "whole"))
    assert same(ours, theirs)
    assert "resuming at step 9" in (tmp_path / "run/log.txt").read_text()
    # The value of init_from does not matter then.
    assert train(config()).state.step == 14
    assert train(config(spec, "init_from.weights=ema")).state.step == 14


def test_all_or_nothing(config, tmp_path, trained):
    arrays = dict(load_file(last(trained) / "raw.safetensors"))
    arrays["linear_0.w_0"] = arrays["linear_0.w_0"][:2]
    write_weights(tmp_path / "x.safetensors", arrays, step=1, what="x")
    run = prepare_training(config(f"init_from.path={tmp_path / 'x.safetensors'}"))
    before = run.read()
    with pytest.raises(ConfigError, match="misshaped"):
        begin_with(run)
    assert all(same(part, before[name]) for name, part in run.read().items())
    assert "run" not in os.listdir(tmp_path)
