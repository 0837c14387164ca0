"""A model exported as an inference program: what Paddle loads, what model.json says, and what is refused."""

from __future__ import annotations

import ctypes
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from support.configs import CNN, loader
from support.runs import last

import ppema
from ppema.checkpoint.paths import checkpoints_of, output_of
from ppema.deploy import inference, loaded_back
from ppema.deploy.description import check_files, read_description
from ppema.deploy.exporting import export
from ppema.deploy.loaded_back import difference
from ppema.deploy.native_output import without_native_output
from ppema.deploy.new_folder import check_folder, new_folder
from ppema.errors import CheckpointError, PpemaError, TrainingError
from ppema.evaluation.stored import evaluate_stored
from ppema.ir import backend, onednn_layout
from ppema.training.loop import train

EMA, FILE = "ema", "x.safetensors"
CHANNELS_LAST = 1  # NHWC among common::DataLayout


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The config of a finished run of 14 steps, with `data.normalize`."""
    made = loader(tmp_path_factory.mktemp("export"), CNN)
    keys = ("seed=3", "data.normalize=true")
    train(made(*keys))
    return lambda *overrides: made(*keys, *overrides)


@pytest.fixture(scope="module")
def exported(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "deep/ema"
    return inference.export_program(config(), folder, weights=EMA, fold=True), folder


def loaded(folder):
    """The program in `folder`, run by five lines of plain Paddle."""
    scope, executor = paddle.static.Scope(), paddle.static.Executor(paddle.CPUPlace())
    with paddle.static.scope_guard(scope):
        found: Any = paddle.static.load_inference_model(str(folder / "inference"), executor)
        program, feeds, outputs = found
    return program, feeds, scope, lambda feed: executor.run(program, feed, outputs, scope=scope)


def test_the_files_and_the_program(exported, config):
    done, folder = exported
    suffix = "json" if (folder / "inference.json").exists() else "pdmodel"
    assert {f"inference.{suffix}", "inference.pdiparams", "model.json"} == set(os.listdir(folder)) == set(done.files)
    assert [each.by for each in done.compared] == ["load_inference_model", "paddle.inference"]
    assert all(each.greatest < 1e-5 for each in done.compared)
    assert {each.what for each in done.compared} == {"8 samples of data.eval"}
    program, feeds, _, run = loaded(folder)
    assert feeds == ["input_0"]
    kinds = {each.kind for each in backend().operations(program)}
    assert not any(word in kind for kind in kinds for word in ("dropout", "batch_norm", "cross_entropy"))
    # Nothing of this machine is in the file.
    assert str(Path(ppema.__file__).parent).encode() not in (folder / f"inference.{suffix}").read_bytes()
    assert [run({"input_0": np.zeros([n, 1, 8, 8], "float32")})[0].shape for n in (1, 5)] == [(1, 3), (5, 3)]


def test_a_program_with_channels_last_before_it_changes_nothing(exported):
    """It leaves its layout in the thread, and `paddle.inference` would read results of oneDNN in that."""
    _, folder = exported
    layout = onednn_layout._thread_layout()
    assert layout is not None
    feed = {"input_0": np.random.default_rng(0).normal(size=[3, 1, 8, 8]).astype("float32")}
    run = loaded_back.by_inference(folder / "inference", 1)
    before = run(feed)
    of_thread, put = layout
    put(of_thread(), CHANNELS_LAST)
    for each in (run, loaded_back.by_inference(folder / "inference", 1)):
        np.testing.assert_array_equal(each(feed)[0], before[0])
        put(of_thread(), CHANNELS_LAST)
    put(of_thread(), onednn_layout._CHANNELS_FIRST)


def test_names_of_weights_are_kept_and_folding_is_counted(exported, config, tmp_path):
    done, folder = exported
    assert (done.folded.by, done.folded.left) == ({"conv2d": 1}, 0)
    assert str(done.folded) == "1 of 1 BatchNorms folded into 1 conv2d"
    plain = inference.export_program(config(), tmp_path / "plain", weights=EMA)
    assert plain.folded is None
    weights = checkpoints_of(config()).find("last").weights(EMA)
    gone = {f"batch_norm2d_0.w_{number}" for number in range(3)}
    for where, lost in ((tmp_path / "plain", set()), (folder, gone)):
        program, _, scope, _ = loaded(where)
        names = set(backend().state_names(program))
        assert names == weights.keys() - lost
        same = {name for name in names if np.array_equal(np.array(scope.find_var(name).get_tensor()), weights[name])}
        assert names - same == ({"conv2d_0.w_0", "batch_norm2d_0.b_0"} & names if lost else set())


def test_the_description(exported, config):
    _, folder = exported
    found = read_description(folder)
    check_files(folder, found)
    assert found.files.keys() == set(os.listdir(folder)) - {"model.json"}
    assert (found.weights.name, found.weights.what, found.weights.step) == ("ema", "ema at step 14", 14)
    manifest = checkpoints_of(config()).find("last").manifest
    spec = config().averages[EMA]
    assert found.weights.schedule == {"decay": spec.decay}
    # W / (1 - d) of a constant decay.
    assert found.weights.window == pytest.approx(manifest.averages[EMA].total_weight / (1 - spec.decay), rel=1e-12)
    assert (found.metrics.label, found.metrics.samples, found.metrics.missing) == ("data.eval", 21, "")
    assert found.metrics.weights == manifest.metrics
    assert found.versions == {"ppema": ppema.__version__, "paddle": paddle.__version__}
    assert found.config["data"]["normalize"] == manifest.config["data"]["normalize"]


def test_figures_of_an_earlier_step_are_measured_again(config, tmp_path):
    """The manifest's figures count only if the run's records have the same ones of its step."""
    run = tmp_path / "run"
    shutil.copytree(output_of(config()), run)
    (run / "metrics.jsonl").unlink()
    export(config(f"output={run}"), tmp_path / "model", format="paddle", weights=EMA)
    found = read_description(tmp_path / "model").metrics.weights
    expected = {name: evaluate_stored(config(), name)[name] for name in ("raw", EMA)}
    assert found == expected


def test_a_file_of_weights_is_exported_as_itself(config, tmp_path):
    export(config(), tmp_path / FILE, weights=EMA)
    export(config(), tmp_path / "a", format="paddle", weights=tmp_path / FILE)
    export(config(), tmp_path / "b", format="paddle", weights=EMA)
    feed = {"input_0": np.random.default_rng(0).random([3, 1, 8, 8], "float32")}
    one, two = (loaded(tmp_path / each)[3](feed)[0] for each in "ab")
    np.testing.assert_array_equal(one, two)
    found = read_description(tmp_path / "a")
    assert (found.weights.name, found.weights.what, found.weights.schedule) == ("x", "ema at step 14", None)
    assert found.metrics.weights["x"] == evaluate_stored(config(), EMA)[EMA]


def test_without_data_samples_are_random_and_that_is_reported(config, tmp_path):
    lost = config("data.eval={_replace_: true, name: npz, path: nowhere.npz, batch_size: 7}")
    done = inference.export_program(lost, tmp_path / "model", weights=EMA)
    assert "nowhere.npz" in done.random
    assert {each.what for each in done.compared} == {"2 random samples"}
    assert read_description(tmp_path / "model").metrics.samples is None


def test_a_wrong_export_is_refused_and_nothing_is_left(config, tmp_path, monkeypatch):
    monkeypatch.setattr(inference, "fold_norms", spoilt(inference.fold_norms))
    with pytest.raises(TrainingError, match=r"its outputs differ from the model's by .* at most 0\.0001 is accepted"):
        export(config(), tmp_path / "model", format="paddle", weights=EMA, fold=True)
    assert os.listdir(tmp_path) == []


def spoilt(fold):
    def wrong(program, outputs, where):
        done = fold(program, outputs, where)
        tensor = where.find_var("linear_0.b_0").get_tensor()
        tensor.set(np.array(tensor) + np.float32(0.01), paddle.CPUPlace())
        return done

    return wrong


def test_a_former_export_is_replaced_and_other_folders_stay(config, exported, tmp_path):
    shutil.copytree(exported[1], tmp_path / "model")
    (tmp_path / "model/mine").write_text("")
    with pytest.raises(PpemaError, match="model: beside a former export it has mine, which would be lost: move it"):
        export(config(), tmp_path / "model", format="paddle")
    (tmp_path / "model/mine").unlink()
    late = tmp_path / "model/late"
    with pytest.raises(PpemaError, match="model: beside a former export it has late, "), new_folder(tmp_path / "model"):
        late.write_text("")  # while the export runs
    late.unlink()
    check_folder(tmp_path / "model")
    for folder in (".git", "inference.pdiparams"):
        shutil.copytree(exported[1], tmp_path / "model", dirs_exist_ok=True)
        (tmp_path / "model" / folder).unlink(missing_ok=True)
        (tmp_path / "model" / folder).mkdir()
        with pytest.raises(PpemaError, match=rf"beside a former export it has {folder}, "):
            export(config(), tmp_path / "model", format="paddle")
        (tmp_path / "model" / folder).rmdir()
    export(config(), tmp_path / "model", format="paddle")
    assert read_description(tmp_path / "model").weights.name == "raw"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").write_text("")
    with pytest.raises(PpemaError, match="mine: it is a folder of other files, which stays: choose another one"):
        export(config(), tmp_path / "mine", format="paddle")
    assert sorted(os.listdir(tmp_path)) == ["mine", "model"]


@pytest.mark.parametrize(
    ("to", "keys", "error", "said"),
    [
        ("m", {"weights": "other"}, CheckpointError, "there are no weights 'other'"),
        ("m", {"names": "places"}, PpemaError, "names: a program has its variables' own names: leave it out"),
        ("a.pdparams", {"format": None, "fold": True}, PpemaError, "fold: it requires format paddle"),
        ("m", {"weights": FILE, "checkpoint": "best"}, PpemaError, "checkpoint: x.safetensors is a file of weights"),
    ],
)
def test_bad_input_is_one_line(config, tmp_path, to, keys, error, said):
    with pytest.raises(error) as found:
        export(config(), tmp_path / to, **{"format": "paddle", **keys})
    assert said in str(found.value) and "\n" not in str(found.value)
    assert os.listdir(tmp_path) == []


def test_a_part_of_a_checkpoint_is_no_target(config):
    with pytest.raises(PpemaError, match="it is a checkpoint, or a part of one"):
        export(config(), last(output_of(config())) / "model", format="paddle")


def test_what_paddle_inference_prints_is_not_in_the_output(tmp_path, capfd):
    """Paddle 3.3 prints a line for a mean over the last two axes; ours come through, in their order."""
    main, startup, own = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
    with paddle.static.program_guard(main, startup), paddle.static.scope_guard(own):
        x = paddle.static.data("x", [-1, 3, 4, 4], "float32")
        sums = paddle.nn.Linear(3, 1, weight_attr=paddle.nn.initializer.Constant(1.0))(x.mean(axis=[2, 3]))
        executor = paddle.static.Executor(paddle.CPUPlace())
        executor.run(startup)
        paddle.static.save_inference_model(str(tmp_path / "m"), [x], [sums], executor, program=main)
    capfd.readouterr()
    print("before")
    run = loaded_back.by_inference(tmp_path / "m", 1)
    array = np.arange(48, dtype="float32").reshape(1, 3, 4, 4)
    np.testing.assert_allclose(run({"x": array})[0], [[7.5 + 23.5 + 39.5]])
    print("after")
    assert capfd.readouterr().out == "before\nafter\n"


def test_the_output_comes_back_after_an_error_and_buffers_of_c_are_held_back(capfd):
    libc = ctypes.CDLL(None)
    with suppress(KeyError), without_native_output():
        libc.puts(b"native")
        raise KeyError
    libc.puts(b"ours")
    libc.fflush(None)
    assert capfd.readouterr().out == "ours\n"


def test_differences_are_relative_above_one_and_infinite_for_what_is_not_finite():
    one = np.array([1.0, -4.0])
    assert difference([one], [one + np.array([0, 0.4])]) == pytest.approx(0.1)
    assert difference([one / 8], [one / 8 + 0.1]) == pytest.approx(0.1)
    nan = np.array([1.0, np.nan])
    assert difference([nan], [nan]) == 0
    assert difference([nan], [one]) == difference([one], [nan]) == difference([one], [one[:1]]) == float("inf")
    assert loaded_back.MOST_DIFFERENCE == 1e-4
