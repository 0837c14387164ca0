"""The records and the display of a run: valid JSON, and progress on a terminal and elsewhere."""

from __future__ import annotations

import io
import json
import math
import os

import pytest

from ppema.errors import SetupError
from ppema.log.interval import Interval, TrainingTime
from ppema.log.log import RunLog
from ppema.log.records import read_metrics, to_json
from ppema.log.terminal.progress import progress
from ppema.metrics.known import RECORD_KEYS


def test_json_has_no_nan():
    text = to_json({"a": [1.5, math.nan], "b": {"c": math.inf, "d": "x"}, "e": (None, 3)})
    assert json.loads(text, parse_constant=lambda name: 1 / 0) == {"a": [1.5, None], "b": {"c": None, "d": "x"}, "e": [None, 3]}


def test_lines_that_are_no_records_are_left_out(tmp_path):
    record = {"kind": "train", "step": 1, "epoch": 0.5, "loss": None, "lr": 0.1, "decay": {"ema": 0.5}}
    reading = {"window": None, "distance": 0.5, "stalled": 0.0, "groups": {"": None}}
    evaluation = {"kind": "eval", "step": 2, "epoch": 1.0, "weights": "ema", "loss": 0.25, "accuracy": None}
    kept = [record, {**record, "skipped": 0, "health": {"ema": reading}}, evaluation]
    lines = [
        *(json.dumps(each).encode() for each in kept),
        b'{"kind": "train", "step": 1}',
        b'{"kind": "eval", "step": 1, "epoch": 0.5}',
        b'{"kind": "eval", "step": 1, "epoch": 0.5, "weights": "ema", "loss": "x"}',
        b'{"kind": "eval", "step": 1, "epoch": 0.5, "weights": "\\ud800"}',
        json.dumps({**evaluation, "step": -1}).encode(),
        json.dumps({**evaluation, "step": True}).encode(),
        json.dumps({**evaluation, "step": 2**63}).encode(),
        json.dumps({**record, "health": {"ema": {"window": 1.0}}}).encode(),
        json.dumps({**record, "decay": ["ema"]}).encode(),
        json.dumps({**record, "kind": ["train"]}).encode(),
        *(
            json.dumps(each).replace('"?"', number).encode()
            for number in ("9" * 400, "NaN", "-Infinity", "1e999")
            for each in (
                {**evaluation, "loss": "?"},
                {**evaluation, "epoch": "?"},
                {**record, "lr": "?"},
                {**record, "decay": {"ema": "?"}},
                {**record, "health": {"ema": {**reading, "distance": "?"}}},
            )
        ),
        b"[" * 100_000,
        b"5",
        b"null",
        b'{"step": 2}',
        b'{"kind": "eval", "step": "x"}',
        b"\xff\xfe",
        b'{"ki',
    ]
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join(lines))
    assert read_metrics(tmp_path) == kept
    assert read_metrics(tmp_path / "absent") == []
    (tmp_path / "run/metrics.jsonl").mkdir(parents=True)
    with pytest.raises(SetupError, match=r"metrics.jsonl: the run's records can not be read: it is no regular file"):
        read_metrics(tmp_path / "run")


def test_elsewhere_there_is_one_line_for_each_evaluation(monkeypatch, tmp_path):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    with progress(total=40, start=10) as bar, RunLog(tmp_path, bar, step=10) as log:
        bar.arrived()
        bar.update(11, loss=0.5, lr=0.01, rate=1234.0)
        log.say("a line")
        log.doing("evaluating raw: batch 1 of 2")
        log.train(11, 1.0, Interval(), lr=0.1, skipped=0, health={}, norms={}, memory={})
        log.evaluation(11, 1.0, "raw", {"loss": 0.5, "confusion": [[1, 0]]})
        log.evaluated(11, 1.0, {"raw": {"loss": 0.5}})
    assert stream.getvalue() == "a line\nstep 11/40  epoch 1.00  loss: raw 0.5000 (best)\n"
    assert (tmp_path / "log.txt").read_text().splitlines()[-1] == "step 11  eval  raw          loss 0.5000"


def test_a_resumed_run_compares_with_the_evaluations_before(monkeypatch, tmp_path):
    for step, accuracy in ((5, 0.75), (10, 0.5)):
        stream = io.StringIO()
        monkeypatch.setattr("sys.stderr", stream)
        with progress(total=10, start=step - 5) as bar, RunLog(tmp_path, bar, step=step - 5) as log:
            log.evaluation(step, 1.0, "raw", {"accuracy": accuracy})
            log.evaluated(step, 1.0, {"raw": {"accuracy": accuracy}})
        assert stream.getvalue().endswith(f"accuracy: raw {accuracy:.4f}{' (best)' if step == 5 else ''}\n")


def test_elsewhere_a_run_that_has_long_been_silent_shows_that_it_goes_on(monkeypatch):
    stream, now = io.StringIO(), [0.0]
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr("ppema.log.terminal.progress.time.monotonic", lambda: now[0])
    with progress(total=40, start=0) as bar:
        for second in (59, 60, 61, 121):
            now[0] = float(second)
            bar.interval(f"step {second}", 0.0)
        now[0] = 181.0
        bar.doing("")
        bar.doing("evaluating raw: batch 1 of 2")
    assert stream.getvalue() == "step 60\nstep 121\nevaluating raw: batch 1 of 2\n"


def test_training_goes_on_when_nobody_listens(monkeypatch, tmp_path):
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr("sys.stderr", Closed())
    with progress(total=4, start=0) as bar, RunLog(tmp_path, bar, step=0) as records:
        records.say("unheard")
        records.evaluated(1, 1.0, {"raw": {"loss": 0.5}})
    assert (tmp_path / "log.txt").read_text() == "unheard\n"


def test_the_rate_leaves_out_what_is_not_training(monkeypatch):
    clock = iter([0.0, 0.5, 2.0, 5.0, 5.25, 6.0])
    monkeypatch.setattr("ppema.log.interval.time.perf_counter", lambda: next(clock))
    total = TrainingTime(100.0)
    interval = Interval(total=total)
    interval.arrived()  # after 0.5 s
    interval.add(1.0, samples=10)  # 2 s
    interval.resume()  # after 3 s of evaluation
    interval.arrived()  # after 0.25 s
    interval.add(2.0, samples=20)  # 1 s
    assert interval.rate == 10.0
    assert interval.data_wait == 0.25
    assert total.seconds == 103.0
    assert interval.losses.mean == 1.5


def test_an_interval_that_a_checkpoint_cut_in_two_has_the_mean_of_the_whole():
    losses = [0.1, 0.2, 0.3, 0.4, 0.5]
    whole, first = Interval(), Interval()
    for loss in losses:
        whole.add(loss, samples=1)
    for loss in losses[:2]:
        first.add(loss, samples=1)
    second = Interval(first.losses)
    for loss in losses[2:]:
        second.add(loss, samples=1)
    assert second.losses == whole.losses


def test_no_metric_has_the_name_of_a_key_of_its_record(tmp_path):
    with progress(total=4, start=0) as bar, RunLog(tmp_path, bar, step=0) as records:
        records.evaluation(1, 0.5, "ema", {})
    (record,) = read_metrics(tmp_path)
    assert set(record) == set(RECORD_KEYS)


def test_the_time_of_training_goes_on_where_the_state_was_saved(tmp_path):
    """Not at a later record, which is dropped, nor at an earlier one: between records, steps take time too."""

    def opened(step, origin=None):
        with progress(1, 0) as bar, RunLog(tmp_path, bar, step=step, origin=origin) as log:
            return log

    with progress(1, 0) as bar, RunLog(tmp_path, bar, step=0) as log:
        for step in (10, 20):
            log.time.seconds += 5.0
            log.evaluation(step, 1.0, "raw", {"loss": 0.5})
        log.saved(13, 6.5)
    assert [each["seconds"] for each in read_metrics(tmp_path)] == [5.0, 10.0]
    # Again, because the records of checkpoints are written anew.
    assert [opened(13).time.seconds for _ in range(2)] == [6.5, 6.5]
    assert opened(10).time.seconds == 5.0
    (tmp_path / "metrics.jsonl").write_text('{"kind": "eval", "step": 10, "epoch": 1.0, "weights": "raw"}\n')
    assert math.isnan(opened(10).time.seconds)
    (tmp_path / "metrics.jsonl").unlink()
    assert math.isnan(opened(10, tmp_path / "other").time.seconds)
    assert math.isnan(opened(10).time.seconds)


def test_parts_of_the_loss_are_logged_as_means(tmp_path):
    """A part that was not finite is null; one that began within the interval has no mean."""
    first = Interval()
    first.add(3.0, samples=1, parts={"loss.mask": 1.0, "loss.aux": 2.0})
    interval = Interval(first.losses)
    interval.add(None, samples=1, parts={"loss.mask": math.nan})
    interval.add(5.0, samples=1, parts={"loss.mask": 3.0, "loss.aux": math.inf, "late": 1.0})
    with progress(1, 0) as bar, RunLog(tmp_path, bar, step=0) as log:
        log.train(
            2, 1.0, interval, lr=0.1, skipped=0, health={}, norms={"gradient_norm": 12345.678}, memory={"memory_mib": 7.0}
        )
    (record,) = read_metrics(tmp_path)
    assert {key: record[key] for key in ("loss", "loss.mask", "loss.aux", "memory_mib")} == {
        "loss": 4.0,
        "loss.mask": 2.0,
        "loss.aux": None,
        "memory_mib": 7.0,
    }
    assert "late" not in record
    assert (
        "loss 4.0000  loss.mask 2.0000  loss.aux nan  lr 0.1  gradient norm 1.235e+04  " in (tmp_path / "log.txt").read_text()
    )


def test_a_long_wait_for_data_is_in_the_line(tmp_path, monkeypatch):
    clock = iter([0.0, 0.3, 1.0])
    monkeypatch.setattr("ppema.log.interval.time.perf_counter", lambda: next(clock))
    interval = Interval()
    interval.arrived()
    interval.add(1.0, samples=10)
    with progress(1, 0) as bar, RunLog(tmp_path, bar, step=0) as log:
        log.train(1, 1.0, interval, lr=0.1, skipped=0, health={}, norms={}, memory={})
    assert (tmp_path / "log.txt").read_text().endswith("10 samples/s  30% of the time waiting for data\n")
    assert read_metrics(tmp_path)[0]["data_wait"] == 0.3


@pytest.mark.parametrize("name", ["log.txt", "vdl"])
def test_a_pipe_in_the_place_of_a_record_is_an_error_and_no_wait(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with progress(1, 0) as bar, pytest.raises(SetupError, match="the run's folder can not be written"):
        RunLog(tmp_path, bar, step=0)


def test_a_pipe_in_the_place_of_the_metrics_is_refused(tmp_path):
    os.mkfifo(tmp_path / "metrics.jsonl")
    with progress(1, 0) as bar, pytest.raises(SetupError, match=r"metrics.jsonl: the run's records can not be read: it is no"):
        RunLog(tmp_path, bar, step=0)
