"""Checkpoints of Paddle 2's own class: converted averages equal those of its `apply`; paths, and the command."""

from __future__ import annotations

import base64
import json
import pickle
from contextlib import suppress
from pathlib import Path

import numpy as np
import paddle
import pytest
from safetensors.numpy import load_file
from support.configs import CNN, loader, write_config
from support.device import device_place

from ppema.api import evaluate
from ppema.checkpoint.paths import checkpoints_of
from ppema.cli.eval import main as eval_main
from ppema.cli.export import main as export_main
from ppema.cli.train import main as train_main
from ppema.config import RAW
from ppema.deploy.weights_export import Exported, export_official
from ppema.errors import CheckpointError, PpemaError
from ppema.ir import backend, scope
from ppema.training.initial import begin_with
from ppema.training.loop import train
from ppema.training.setup import prepare_training
from ppema.weights.file import description
from ppema.weights.official import read_official
from ppema.weights.pdparams import read_pdparams
from ppema.weights.variable_file import read_variable

# Written by Paddle 2.6.2 after five steps of BatchNorm1D(3) and fc(2): files, raw weights, and weights inside `apply`.
RECORDED = json.loads((Path(__file__).parent / "golden/official.json").read_text(encoding="utf-8"))

OFFICIAL_ONLY = pytest.mark.skipif(
    not paddle.__version__.startswith("2."), reason="paddle.static.ExponentialMovingAverage can not be constructed on Paddle 3"
)


@pytest.fixture
def recorded(tmp_path):
    """The folder of the golden files: model.*, variables/*, and applied.*, which was saved inside `apply`."""
    for name, content in RECORDED["files"].items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(base64.b64decode(content))
    return tmp_path


def close(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        value = np.asarray(value, "float32")
        assert found[name].dtype == value.dtype and found[name].shape == value.shape, name
        assert np.abs(found[name] - value).max() <= 1e-6 * np.abs(value).max(), name


@pytest.mark.parametrize("path", ["model", "model.pdparams", "model.pdopt", "variables"])
def test_what_paddle_2_wrote(recorded, path):
    found = read_official(recorded / path)
    assert (found.updates, round(found.decay, 7)) == (5, 0.9)
    assert found.correction == pytest.approx(1 - 0.9**5, rel=1e-6)
    close(found.raw, RECORDED["raw"])
    close(found.averages, RECORDED["applied"])


@OFFICIAL_ONLY
@pytest.mark.parametrize("name", [None, "my"])
def test_what_the_class_itself_applies(built, here, tmp_path, name):
    """A checkpoint written now, with all optimizer states, and once with a second average of the class in the program."""
    built.minimize()
    with built.guard():
        official = paddle.static.ExponentialMovingAverage(0.99, name=name)
        official.update()
        if name:
            paddle.static.ExponentialMovingAverage(0.99, name="other").update()
    built.start()
    built.steps(7)
    paddle.static.save(built.main, str(tmp_path / "model"))
    paddle.static.io.save_vars(built.executor, str(tmp_path / "all"), built.main, predicate=lambda each: each.persistable)
    names = [each.name for each in backend().parameters(built.main)]
    raw = {each: scope.get(here, each) for each in names}
    with official.apply(built.executor):
        applied = {each: scope.get(here, each) for each in names}
    for path in ("model", "all"):
        found = read_official(tmp_path / path)
        assert found.updates == 7
        close(found.raw, raw)
        # The class rounds 0.99^7 to float32 before it computes 1 - 0.99^7 = 0.068.
        for each in names:
            assert np.abs(found.averages[each] - applied[each]).max() <= 2e-6 * np.abs(applied[each]).max(), each


def test_files_of_variables_are_read_as_paddle_writes_them(built, here, tmp_path):
    """Files of the installed Paddle are read. The dtypes are those that both Paddles save on a CPU."""
    built.minimize()
    with built.guard():
        for dtype in ("float64", "int64", "float16", "uint8", "int8", "int32", "bfloat16"):
            initial = paddle.nn.initializer.Constant(1.0)
            paddle.static.create_parameter([2, 1], dtype, name=f"of_{dtype}", default_initializer=initial)
    built.start()
    paddle.static.io.save_vars(built.executor, str(tmp_path), built.main, predicate=lambda each: each.persistable)
    read = {file.name: read_variable(file) for file in tmp_path.iterdir()}
    names = {each.name for each in backend().parameters(built.main)}
    assert names < read.keys() and {"of_float64", "of_int64", "of_float16"} < names
    for name, array in read.items():
        expected = scope.get(here, name)
        assert (array.dtype, array.shape, array.tobytes()) == (expected.dtype, expected.shape, expected.tobytes()), name


def test_what_is_cut_or_changed_is_refused_or_read(recorded):
    """A truncated file is refused in one line. A file with a changed byte is refused, or has the same number of elements."""
    file = recorded / "variables/fc_0.w_0"
    whole = file.read_bytes()
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match="^[^\n]*it is no file of one variable, or it is damaged: [^\n]*$"):
            read_variable(file)
    for at in range(len(whole)):
        for value in (0, 1, 127, 128, 255):
            file.write_bytes(whole[:at] + bytes([value]) + whole[at + 1 :])
            with suppress(CheckpointError):
                assert read_variable(file).size == 6


@pytest.mark.parametrize("weights", ["raw", "ema"])
@pytest.mark.parametrize("name", ["x.safetensors", "x.pdparams"])
def test_the_file_that_is_written(recorded, weights, name):
    done = export_official(recorded / "model", recorded / name, weights=weights)
    what = {"raw": "raw of model after 5 updates", "ema": "ema of model after 5 updates of decay 0.9, divided by 0.40951"}
    form = name.removeprefix("x.")
    assert done == Exported(str(recorded / name), form, "variables", what[weights], 6)
    found = load_file(recorded / name) if form == "safetensors" else read_pdparams(recorded / name)
    close(found, RECORDED["raw" if weights == "raw" else "applied"])
    if form == "safetensors":
        assert description(recorded / name) == what[weights]


@pytest.mark.filterwarnings("ignore:This list is not set")
def test_paddle_loads_what_is_written(recorded):
    export_official(recorded / "model", recorded / "ema.pdparams", weights="ema")
    main, startup, where = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
    with paddle.static.program_guard(main, startup), paddle.utils.unique_name.guard():
        paddle.nn.BatchNorm1D(3)(paddle.static.data("x", [-1, 3], "float32"))
    with paddle.static.scope_guard(where):
        paddle.static.Executor(device_place()).run(startup)
        paddle.static.set_program_state(main, paddle.static.load_program_state(str(recorded / "ema.pdparams")))
        names = [each.name for each in backend().parameters(main)]
        close({each: scope.get(where, each) for each in names}, {each: RECORDED["applied"][each] for each in names})


@pytest.fixture(scope="module")
def official_run(tmp_path_factory):
    """A finished run of ppema, and its last checkpoint in the format of Paddle's class."""
    folder = tmp_path_factory.mktemp("official")
    config = loader(folder, CNN)
    train(config("seed=3", "train.monitor=ema/accuracy"))
    checkpoint = checkpoints_of(config("seed=3", "train.monitor=ema/accuracy")).find("last")
    steps, decay = checkpoint.manifest.state.step, np.float32(0.9)
    sums = {f"{name}_ema_0": value * np.float32(1 - float(decay) ** steps) for name, value in checkpoint.weights("ema").items()}
    scalars = {"@EMA_STEP_COUNTER@": np.array([steps]), "scheduled_ema_decay_rate": np.array([decay])}
    (folder / "old.pdparams").write_bytes(pickle.dumps(dict(checkpoint.weights("raw"))))
    (folder / "old.pdopt").write_bytes(pickle.dumps(sums | scalars))
    return folder, lambda *overrides: config("seed=3", "train.monitor=ema/accuracy", *overrides)


@pytest.mark.parametrize("weights", ["raw", "ema"])
def test_a_model_of_ours_evaluates_it_and_begins_with_it(official_run, tmp_path, weights):
    folder, config = official_run
    file = tmp_path / f"{weights}.safetensors"
    export_official(folder / "old", file, weights=weights)
    expected = evaluate(config(), weights)[weights]
    found = evaluate(config(), file)[str(file)]
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    run = prepare_training(config(f"init_from.path={file}", f"output={tmp_path / 'run'}"))
    restored = begin_with(run)
    assert restored is not None and len(restored.found.loaded) == 7 and not restored.found.unexpected
    close(run.read()[RAW], {name: np.asarray(value) for name, value in load_file(file).items()})


def test_a_checkpoint_saved_inside_apply_has_no_raw_weights(recorded):
    for path, file in ((recorded / "applied", "a.safetensors"), (recorded / "applied.pdparams", "b.safetensors")):
        with pytest.raises(CheckpointError) as caught:
            export_official(path, recorded / file, weights="raw")
        assert str(caught.value) == (
            f"{path}: its weights are the averages: it was saved while they were applied, and has no raw weights; give "
            "weights ema"
        )
        export_official(path, recorded / file, weights="ema")
        close(load_file(recorded / file), RECORDED["applied"])


def test_paths_that_lead_nowhere(recorded, monkeypatch):
    monkeypatch.chdir(recorded)
    (recorded / "model.pdopt").unlink()
    (recorded / "one").write_bytes(b"all variables")
    (recorded / "variables/fc_0.b_0").write_bytes(b"\1")
    (recorded / "empty").mkdir()
    long = "x" * 300
    for path, said in {
        "nowhere": "nowhere.pdparams: No such file or directory",
        "model": "model.pdopt: no such file, and the averages are in it: paddle.static.save wrote it beside model.pdparams",
        "one": "one: neither a folder nor a file *.pdparams: one file of all variables has no names in it; load it into its "
        "program with Paddle 2 and save that with paddle.static.save",
        ".": ".: it is a folder with applied.pdopt: name that file",
        "variables": "variables/fc_0.b_0: it is no file of one variable, or it is damaged: 4 bytes at byte 0, and the file "
        "has 1",
        "empty": "empty: no averages of paddle.static.ExponentialMovingAverage are in it: no variable is called "
        "'<parameter>_ema_0', such as 'fc_0.w_0_ema_0'",
        long: f"{long}: File name too long",
    }.items():
        with pytest.raises(CheckpointError) as caught:
            read_official(Path(path))
        assert str(caught.value) == said


def test_the_command(recorded, capsys, monkeypatch):
    monkeypatch.chdir(recorded)
    assert export_main(["--from-official", "model", "--weights", "ema", "--to", "ema.safetensors", "--json"]) == 0
    line, result = capsys.readouterr().out.splitlines()
    assert line == "ema.safetensors: ema of model after 5 updates of decay 0.9, divided by 0.40951, 6 variables by name"
    assert json.loads(result)["variables"] == 6
    official = ["--from-official", "model", "--to", "x.safetensors"]
    for arguments, said in (
        (official, "--weights is missing: with --from-official, raw or ema (the averages)"),
        ([*official, "--weights", "quick"], "--weights: expected raw or ema, got 'quick'"),
        (
            [*official, "--weights", "ema", "-c", "x.yml"],
            "-c: it can not be combined with --from-official, which names the checkpoint",
        ),
        (
            [*official, "--weights", "ema", "--checkpoint", "best"],
            "--checkpoint: it can not be combined with --from-official, which names the checkpoint",
        ),
        (
            [*official, "--weights", "ema", "--names", "places"],
            "--names: variables of a static program have no places in a model: leave it out",
        ),
        (["-c", "x.yml", "--to", "x.safetensors", "--decay", "0.9"], "--decay: it requires --from-official"),
        (
            ["--from-official", "variables", "--weights", "ema", "--to", "x.npz"],
            "--to: x.npz: expected a name that ends in .safetensors or .pdparams",
        ),
    ):
        assert export_main(arguments) == 2
        assert capsys.readouterr().err == f"{said}\n"
    assert not list(recorded.glob("x.*"))


def test_from_the_old_checkpoint_to_an_evaluation(official_run, capsys, monkeypatch, tmp_path):
    """The two commands of docs/porting.md."""
    folder, _ = official_run
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path / "small.yml", CNN)
    assert export_main(["--from-official", str(folder / "old"), "--weights", "ema", "--to", "ema.safetensors"]) == 0
    assert eval_main(["-c", "small.yml", "--weights", "ema.safetensors"]) == 0
    assert "ema of old after 14 updates of decay 0.9" in capsys.readouterr().err
    assert train_main(["-c", "small.yml", "-o", "init_from.path=ema.safetensors", "--dry-run"]) == 0
    assert "init_from ema.safetensors: 7 of 7 variables loaded" in capsys.readouterr().err


def test_the_arguments_of_the_function(recorded):
    with pytest.raises(PpemaError, match="^format: expected safetensors or pdparams, got 'onnx'$"):
        export_official(recorded / "model", recorded / "x", weights="raw", format="onnx")
