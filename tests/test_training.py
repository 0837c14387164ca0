"""Runs from end to end, on small data: what they write, that they repeat, resume and stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from moving import cuts
from paddle.optimizer.lr import ReduceOnPlateau

from ppema.api import evaluate
from ppema.config import load_config
from ppema.errors import CheckpointError, DataError, TrainingError
from ppema.run.checkpoint import Checkpoints
from ppema.run.log import read_metrics
from ppema.run.stop import stop_requests
from ppema.training import dry_run, train

ROOT = Path(__file__).parents[1]
SMALL = """
model: {name: things.Nested, args: {classes: 3}}
data:
  train: {name: synthetic, samples: 50, shape: [1, 8, 8], classes: 3, batch_size: 8, shuffle: true}
  eval: {name: synthetic, samples: 21, shape: [1, 8, 8], classes: 3, batch_size: 8, split: test}
optimizer: {name: Momentum, args: {momentum: 0.9}}
lr: {name: CosineAnnealingDecay, args: {learning_rate: 0.05, T_max: 100 %}, warmup: 5 steps}
averages: {ema: {decay: 0.9}, quick: {decay: 0.99, thres_steps: true}}
train: {epochs: 4, log_every: 5 steps, eval_every: 10 steps, save_every: 10 steps, monitor: ema/accuracy}
"""


@pytest.fixture
def config(tmp_path):
    """Loads the small config with overrides; its run goes to the folder `run`, unless they say otherwise."""
    (tmp_path / "small.yml").write_text(SMALL)

    def load(*overrides: str):
        return load_config(tmp_path / "small.yml", [f"output={tmp_path / 'run'}", *overrides])

    return load


def content(folder: Path) -> dict[str, bytes]:
    """The arrays of a checkpoint, and of its manifest what does not depend on the folder or the clock."""
    manifest = json.loads((folder / "manifest.json").read_text())
    kept = {key: value for key, value in manifest.items() if key != "config"}
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")} | {"manifest": json.dumps(kept).encode()}


def last(output: Path) -> Path:
    return Checkpoints(output / "checkpoints").find("last").path


def losses(output: Path):
    return [(r["step"], r["loss"]) for r in read_metrics(output) if r["kind"] == "train"]


def test_the_same_config_and_seed_repeat_bit_for_bit(config, tmp_path):
    outputs = [tmp_path / name for name in ("a", "b", "c")]
    for output, seed in zip(outputs, (0, 0, 1), strict=True):
        train(config(f"output={output}", f"seed={seed}"))
    a, b, c = outputs
    assert content(last(a)) == content(last(b)) != content(last(c))
    assert losses(a) == losses(b) != losses(c)


def test_what_a_run_writes(config, tmp_path):
    result = train(config())
    output = tmp_path / "run"
    assert asdict(result.state) == {"step": 28, "epoch": 4, "batch": 0, "samples": 200}
    assert sorted(path.name for path in output.iterdir()) == ["checkpoints", "config.yml", "log.txt", "metrics.jsonl", "vdl"]
    records = read_metrics(output)
    assert [r["step"] for r in records if r["kind"] == "train"] == [5, 10, 15, 20, 25, 28]
    assert [(r["step"], r["weights"]) for r in records if r["kind"] == "eval"] == [
        (step, weights) for step in (10, 20, 28) for weights in ("raw", "ema", "quick")
    ]
    # At step 5 the warm-up has just ended; the decay of the fifth update, n = 4, is 5/14.
    assert records[0]["lr"] == pytest.approx(0.04)
    assert records[0]["decay"] == {"ema": 0.9, "quick": 5 / 14}
    assert load_config(output / "config.yml").model_dump() == config().model_dump()


def test_visualdl_can_read_the_scalars_back(config, tmp_path):
    from visualdl import LogReader

    train(config())
    (file,) = (tmp_path / "run" / "vdl").glob("*.log")
    reader = LogReader(file_path=str(file))
    assert set(reader.get_tags()["scalar"]) == {
        *("train/loss", "train/lr"),
        *(f"{figure}/{average}" for figure in ("decay", "window", "distance", "stalled") for average in ("ema", "quick")),
        *(f"distance/{average}/{group}" for average in ("ema", "quick") for group in ("norm", "linear")),
        *(f"{metric}/{weights}" for metric in ("loss", "accuracy") for weights in ("raw", "ema", "quick")),
    }
    recorded = [(r["step"], r["accuracy"]) for r in read_metrics(tmp_path / "run") if r.get("weights") == "ema"]
    shown = [(point.id, point.value) for point in reader.get_data("scalar", "accuracy/ema")]
    assert shown == [(step, pytest.approx(value)) for step, value in recorded]


@pytest.mark.parametrize("stop", [1, 7, 10, 13])
def test_a_run_cut_in_two_ends_as_the_whole_one(config, tmp_path, stop):
    """In the middle of an epoch or at its end; with shuffling, dropout, warm-up, momentum and two averages."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(config(f"output={whole}"))
    assert train(config(f"output={cut}", f"train.stop_after={stop} steps")).state.step == stop
    assert train(config(f"output={cut}")).state.step == 28
    ours, theirs = content(last(cut)), content(last(whole))
    best = [json.loads(each.pop("manifest"))["metrics"] for each in (ours, theirs)]
    assert ours == theirs
    assert best[0] == best[1]


def test_records_after_the_checkpoint_are_dropped_on_resuming(config, tmp_path):
    train(config("train.stop_after=10 steps"))
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "step": 12, "loss": 0.5}\n{"kind": "tr')
    train(config())
    steps = [r["step"] for r in read_metrics(tmp_path / "run") if r["kind"] == "train"]
    assert steps == [5, 10, 15, 20, 25, 28]


def test_visualdl_continues_without_doubles(config, tmp_path):
    from visualdl import LogReader

    train(config("train.stop_after=15 steps", "train.save_every=1 step"))
    output = tmp_path / "run"
    (output / "checkpoints/last").write_text("step-00000014\n")
    train(config("train.save_every=1 step"))
    (file,) = (output / "vdl").glob("*.log")
    steps = [point.id for point in LogReader(file_path=str(file)).get_data("scalar", "train/loss")]
    assert steps == [5, 10, 15, 20, 25, 28]


def test_an_older_checkpoint_of_the_run_itself_is_not_gone_on_from(config, tmp_path):
    """Its successors would be taken for newer, and pruned in favour of what was abandoned."""
    train(config())
    older = tmp_path / "run/checkpoints/step-00000010"
    before = content(last(tmp_path / "run"))
    with pytest.raises(CheckpointError, match="going on from step-00000010 would mix two runs in one folder"):
        train(config("train.stop_after=15 steps"), resume=str(older))
    assert content(last(tmp_path / "run")) == before


def test_a_new_best_is_saved_whenever_it_is_found(config, tmp_path):
    """Evaluated every 5 steps, saved at the end: the best is on disk nevertheless."""
    result = train(config("train.eval_every=5 steps", "train.save_every=100 %", "train.monitor=raw/loss"))
    assert evaluate(config(), weights="raw", checkpoint="best")["raw"]["loss"] == result.best.value
    assert sorted(path.name for path in (tmp_path / "run/checkpoints").glob("step*")) != ["step-00000028"]


@pytest.mark.parametrize(
    "change",
    [
        "seed=1",
        "model.args.classes=4",
        "data.train.noise=0.75",
        "data.train.batch_size=9",
        "data.train.shuffle=false",
        "loss={name: cross_entropy, args: {label_smoothing: 0.1}}",
        "optimizer.args.momentum=0.8",
        "optimizer.weight_decay=0.1",
        "lr.warmup=6 steps",
        "averages.more={decay: 0.5}",
        "train.epochs=5",
        "train.monitor=raw/accuracy",
    ],
)
def test_every_change_that_matters_is_refused_on_resuming(config, change):
    train(config("train.stop_after=1 step"))
    with pytest.raises(CheckpointError, match=f"another config: {change.split('=')[0].replace('.', '[.]')}"):
        train(config(change))


def test_a_finished_run_has_nothing_left_to_do(config, tmp_path):
    first = train(config())
    before = content(last(tmp_path / "run"))
    assert train(config()) == first
    assert content(last(tmp_path / "run")) == before


def test_a_run_that_is_beyond_stop_after_already_stays_where_it_is(config, tmp_path):
    first = train(config("train.stop_after=10 steps"))
    before = content(last(tmp_path / "run"))
    assert train(config("train.stop_after=5 steps")) == first
    assert content(last(tmp_path / "run")) == before


def test_evaluate_gives_what_training_measured(config, tmp_path):
    result = train(config())
    assert evaluate(config()) == result.metrics
    assert evaluate(config(), weights="quick") == {"quick": result.metrics["quick"]}
    best = evaluate(config(), weights="ema", checkpoint="best")
    assert best["ema"]["accuracy"] == result.best.value
    assert evaluate(config(), checkpoint=str(last(tmp_path / "run"))) == result.metrics


def test_resume_never_refuses_a_run_that_exists(config, tmp_path):
    train(config("train.stop_after=3 steps"))
    before = content(last(tmp_path / "run"))
    with pytest.raises(CheckpointError, match="this run has checkpoints already"):
        train(config(), resume="never")
    assert content(last(tmp_path / "run")) == before


def test_resume_from_a_path_and_into_another_folder(config, tmp_path):
    train(config("train.stop_after=10 steps"))
    result = train(config(f"output={tmp_path / 'other'}"), resume=str(last(tmp_path / "run")))
    assert result.state.step == 28
    train(config(f"output={tmp_path / 'whole'}"))
    assert content(last(tmp_path / "other"))["raw.safetensors"] == content(last(tmp_path / "whole"))["raw.safetensors"]


def test_a_checkpoint_from_before_a_key_was_there_is_resumed_by_its_default(config, tmp_path):
    train(config("train.stop_after=3 steps"))
    manifest = last(tmp_path / "run") / "manifest.json"
    content = json.loads(manifest.read_text())
    del content["config"]["averages"]["ema"]["precision"], content["config"]["train"]["snapshot_every"]
    manifest.write_text(json.dumps(content))
    said = "averages.ema.precision: was 'float32', now 'compensated'"
    with pytest.raises(CheckpointError, match=said):
        train(config("averages.ema.precision=compensated"))
    assert train(config()).state.step == 28


def test_another_config_is_refused_with_its_differences(config, tmp_path):
    train(config("train.stop_after=3 steps"))
    said = r"another config: lr.args.learning_rate: was 0.05, now 0.1; averages.ema.decay: was 0.9, now 0.5; choose"
    with pytest.raises(CheckpointError, match=said):
        train(config("lr.args.learning_rate=0.1", "averages.ema.decay=0.5", "train.log_every=1 step"))


def test_a_schedule_as_long_as_the_run_lasts_to_its_end(config):
    assert train(config("lr={name: OneCycleLR, args: {max_learning_rate: 0.05, total_steps: 100 %}}")).state.step == 28


def test_a_loss_that_is_not_finite_ends_the_run_with_the_step(config, tmp_path):
    with pytest.raises(TrainingError, match=r"the loss is nan at step 1 \(epoch 0, batch 0\)"):
        train(config("loss=things.nan_loss"))


def test_a_dry_run_writes_nothing(config, tmp_path):
    assert np.isfinite(dry_run(config()))
    assert not (tmp_path / "run").exists()


PLATEAU = "lr={name: ReduceOnPlateau, args: {learning_rate: 0.08, patience: 0, threshold: %s, threshold_mode: abs}}"


def test_reduce_on_plateau_steps_with_evaluations(config, tmp_path):
    """An improvement by 1e9 never comes, so that the rate falls to a tenth at the second; by -1e9 it always does."""
    for threshold, end in (("1e9", 0.008), ("-1e9", 0.08)):
        train(config(PLATEAU % threshold, f"output={tmp_path / threshold}"))
        rates = [r["lr"] for r in read_metrics(tmp_path / threshold) if r["kind"] == "train"]
        assert rates == pytest.approx([0.08] * 4 + [end] * 2)


def test_reduce_on_plateau_goes_by_the_raw_loss(config, tmp_path, monkeypatch):
    seen = []
    step = ReduceOnPlateau.step
    monkeypatch.setattr(ReduceOnPlateau, "step", lambda self, value: (seen.append(value), step(self, value))[1])
    train(config(PLATEAU % "0.0"))
    losses_of_raw = [r["loss"] for r in read_metrics(tmp_path / "run") if r.get("weights") == "raw"]
    # Rehearsed with ones first; the evaluation at the end of the run, at step 28, is no regular one.
    assert seen[28:] == losses_of_raw[:2]


def test_a_plateau_run_cut_in_two_ends_as_the_whole_one(config, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(config(PLATEAU % "0.0", f"output={whole}"))
    train(config(PLATEAU % "0.0", f"output={cut}", "train.stop_after=7 steps"))
    train(config(PLATEAU % "0.0", f"output={cut}"))
    assert content(last(cut))["raw.safetensors"] == content(last(whole))["raw.safetensors"]
    with pytest.raises(CheckpointError, match="train.eval_every: was '10 steps', now '3 steps'"):
        train(config(PLATEAU % "0.0", f"output={cut}", "train.eval_every=3 steps"))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("{name: things.Breaks, args: {at: 30}, batch_size: 4}", "data.train: sample 30: OSError: the disk is gone"),
        ("{name: things.Labels, args: {at: 17, label: 3}, batch_size: 4}", "data.train: sample 17: label 3 is out of range"),
        ("{name: things.Labels, args: {at: 18, label: -1}, batch_size: 4}", "data.train: sample 18: label -1 is out of range"),
        ("{name: things.Empty, batch_size: 4}", "data.train: "),
        ("{name: things.Dies, workers: 1, batch_size: 2}", "data.train: "),
    ],
)
def test_bad_data_is_one_line_with_the_samples_index(config, data, said):
    good = "{name: synthetic, samples: 4, shape: [4], classes: 3, batch_size: 4}"
    model = "model={name: mlp, args: {in_features: 4, num_classes: 3}}"
    with pytest.raises(DataError) as caught:
        train(config(model, f"data={{train: {data}, eval: {good}}}"))
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_results_do_not_depend_on_workers(config, tmp_path):
    good = "{name: synthetic, samples: 4, shape: [4], classes: 3, batch_size: 4}"
    model = "model={name: mlp, args: {in_features: 4, num_classes: 3}}"
    for workers in (0, 2):
        data = f"{{name: things.Noisy, batch_size: 4, shuffle: true, workers: {workers}}}"
        train(config(model, f"data={{train: {data}, eval: {good}}}", f"output={tmp_path / str(workers)}"))
    assert content(last(tmp_path / "0"))["raw.safetensors"] == content(last(tmp_path / "2"))["raw.safetensors"]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stop_signal_to_the_whole_group_saves_first(config, tmp_path, number, code, workers):
    """As a terminal or a job scheduler sends it, data workers included; the resumed run ends as an undisturbed one."""
    config()
    data = f"data.train={{name: things.Images, batch_size: 8, shuffle: true, workers: {workers}}}"
    length = ["train.epochs=100", "train.save_every=100 epochs", "lr=0.01"]
    overrides = [part for override in (data, *length, f"output={tmp_path / 'run'}") for part in ("-o", override)]
    command = [sys.executable, str(ROOT / "tools/train.py"), "-c", str(tmp_path / "small.yml"), *overrides]
    environment = {"PYTHONPATH": str(ROOT / "tests"), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    for line in process.stderr:
        if line.startswith("step 20 "):
            os.killpg(process.pid, number)
            break
    out, rest = process.communicate(timeout=60)
    assert process.returncode == code, rest
    assert "Traceback" not in out + rest
    assert f"stopped by signal {number.value} after step " in rest
    stopped_at = Checkpoints(tmp_path / "run/checkpoints").find("last").manifest.state.step
    assert 20 <= stopped_at < 500
    whole = tmp_path / "whole"
    train(config(data, *length))
    train(config(data, *length, f"output={whole}"))
    assert content(last(tmp_path / "run"))["raw.safetensors"] == content(last(whole))["raw.safetensors"]


def test_the_second_signal_takes_its_usual_effect():
    with stop_requests() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


OF_TYPE = ("optimizer={name: SGD}", "lr=0.05")
COMPENSATED = "averages.quick.precision=compensated"


def test_a_compensated_run_cut_in_two_ends_as_the_whole_one(config, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(config(f"output={whole}", COMPENSATED))
    train(config(f"output={cut}", COMPENSATED, "train.stop_after=13 steps"))
    train(config(f"output={cut}", COMPENSATED))
    ours, theirs = content(last(cut)), content(last(whole))
    assert {name: value for name, value in ours.items() if name != "manifest"} == {
        name: value for name, value in theirs.items() if name != "manifest"
    }
    rests = {n: a for n, a in Checkpoints(whole / "checkpoints").find("last").arrays("average-quick").items() if "/rest" in n}
    assert len(rests) == 6 and any(rest.any() for rest in rests.values())


def test_another_precision_is_another_run(config):
    train(config("train.stop_after=5 steps"))
    with pytest.raises(CheckpointError, match="averages.quick.precision: was 'float32', now 'compensated'"):
        train(config(COMPENSATED))


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_a_model_of_another_type_is_trained_resumed_and_evaluated(config, tmp_path, dtype):
    """Float16 has no optimizer on a CPU."""
    model = (f"model={{name: things.OfType, args: {{dtype: {dtype}, classes: 3}}}}", *OF_TYPE)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    result = train(config(f"output={whole}", *model, COMPENSATED))
    train(config(f"output={cut}", *model, COMPENSATED, "train.stop_after=13 steps"))
    train(config(f"output={cut}", *model, COMPENSATED))
    ours, theirs = content(last(cut)), content(last(whole))
    assert {name for name in ours if ours[name] != theirs[name]} <= {"manifest"}
    raw = Checkpoints(whole / "checkpoints").find("last").arrays("raw")
    assert raw["of_type_0.w_0"].dtype == {"bfloat16": np.uint16, "float64": np.float64}[dtype]
    assert raw["of_type_0.w_0"].any()
    measured = evaluate(config(f"output={whole}", *model, COMPENSATED))
    for weights, metrics in measured.items():
        # Averages are rounded when they are loaded; where Paddle cuts, a run's own evaluation saw other last bits.
        bound = 5e-2 if weights != "raw" and dtype == "bfloat16" and cuts() else 1e-6
        assert metrics["loss"] == pytest.approx(result.metrics[weights]["loss"], rel=bound), weights
