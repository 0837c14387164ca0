"""VisualDL's page on runs, as a person starts it: the curves of its charts, its end, and refusals."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.browser import browser

from ppema.cli.board import main
from ppema.log.run_board import RunBoard, draw_hyperparameters

ROOT = Path(__file__).parents[2]
# The names and values of the curves of each chart on the page that has a title, once all charts have drawn.
CHARTS = """
const echarts = await import("/app/__snowpack__/pkg/echarts.js");
for (let tries = 0; tries < 200; tries++) {
    await new Promise(done => setTimeout(done, 100));
    const drawn = [...document.querySelectorAll("[_echarts_instance_]")].map(each => {
        const option = echarts.getInstanceByDom(each).getOption();
        const title = option.title && option.title[0] && option.title[0].text;
        return [title, (option.series || []).filter(each => each.name).map(each => [each.name, each.data.map(at => at[2])])];
    });
    if (drawn.length >= arguments[0] && drawn.every(each => each[0] && each[1].length)) return drawn;
}
throw "the charts are not drawn";
"""


def run_of(folder, gain):
    """A run's folder, with three evaluations of two sets of weights."""
    folder.mkdir(parents=True)
    (folder / "config.yml").write_text("seed: 0\n")
    board = RunBoard(folder / "vdl", ["ema"], ["accuracy"])
    for step in (1, 2, 3):
        for weights, more in (("raw", 0.0), ("ema", gain)):
            figures = {"loss": 1 / step, "accuracy": 0.25 * step + more}
            board.draw({"kind": "eval", "step": step, "epoch": 1.0, "weights": weights, **figures})
        board.draw({"kind": "train", "step": step, "epoch": 1.0, "loss": 0.5, "lr": 0.1, "decay": {"ema": 0.9}})
    board.close()
    return folder


@pytest.fixture
def sweep(tmp_path):
    """A sweep with two trials, each of one seed."""
    (tmp_path / "lr-sweep").mkdir()
    (tmp_path / "lr-sweep/sweep.yml").write_text("seed: 0\n")
    for number in range(2):
        run_of(tmp_path / f"lr-sweep/trials/{number:04d}-s0", gain=0.0625 * (number + 1))
    return tmp_path / "lr-sweep"


@pytest.fixture
def started(tmp_path):
    """Starts the command in a process group of its own, as a shell does, and returns the process and the page's address."""
    processes = []

    def start(*arguments):
        (tmp_path / "tmp").mkdir(exist_ok=True)
        command = [sys.executable, str(ROOT / "tools/board.py"), *map(str, arguments)]
        environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp"), "http_proxy": "http://127.0.0.1:9"}
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
        )
        processes.append(process)
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(3)]
        assert said[2] == "Ctrl-C ends it\n", said
        return process, said[0], said[1].strip()

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.campaign
def test_raw_and_averages_of_all_trials_are_curves_of_one_chart(sweep, started, tmp_path):
    """In Chromium: the first screen has the monitored metric, its gain over the raw weights, and the loss."""
    process, said, address = started(sweep, run_of(tmp_path / "alone", gain=0.5))
    names = ["lr-sweep/0000-s0", "lr-sweep/0001-s0", "alone"]
    assert said == f"showing {', '.join(names)}\n"
    assert re.fullmatch(r"http://127\.0\.0\.1:[0-9]+/app/scalar", address)
    with browser(tmp_path / "profile") as page:
        page.open(address)
        shown = dict(page.run(CHARTS, 3))
    assert list(shown) == ["eval/accuracy", "eval/accuracy minus raw", "eval/loss"]
    curves = {}
    for name, gain in zip(names, (0.0625, 0.125, 0.5), strict=True):
        curves[f"{name}/raw"] = [0.25, 0.5, 0.75]
        curves[f"{name}/ema"] = [0.25 + gain, 0.5 + gain, 0.75 + gain]
    # A curve is listed twice, smoothed and as it is, in the same values.
    assert {name: list(values) for name, values in shown["eval/accuracy"]} == curves
    assert list(dict(shown["eval/accuracy"])) == list(curves)
    gains = dict(shown["eval/accuracy minus raw"])
    assert gains["lr-sweep/0001-s0/raw"] == [0, 0, 0] and gains["lr-sweep/0001-s0/ema"] == [0.125, 0.125, 0.125]
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) == 0
    assert process.stdout.read() == ""
    assert is_free(address) and not list((tmp_path / "tmp").iterdir())


def place(address):
    """Host and port of a URL."""
    host, _, port = address.split("/")[2].partition(":")
    return host, int(port)


def is_free(address):
    """Whether the port gets free within ten seconds."""
    for _ in range(100):
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind(place(address))
            except OSError:
                time.sleep(0.1)
            else:
                return True
    return False


@pytest.mark.campaign
def test_a_killed_board_leaves_no_server_and_no_folder(sweep, started, tmp_path):
    trial = sweep / "trials/0000-s0"
    next((trial / "vdl/raw").iterdir()).unlink()
    draw_hyperparameters(trial / "vdl", {"lr": 0.5}, "accuracy")
    process, _, address = started(sweep)
    run_of(sweep / "trials/0002-s0", gain=0.25)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "tmp").glob("*/lr-sweep/0002-s0/ema/*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    asked(address, "component_tabs")  # as the page does first
    assert "lr-sweep/0002-s0/ema" in asked(address, "scalar/tags")  # a trial that began meanwhile
    (row,) = json.loads(asked(address, "hparams/list"))["data"]
    assert row == {
        "name": "lr-sweep/0000-s0/ema",
        "hparams": {"lr": 0.5, "weights": "ema"},
        "metrics": {"eval/accuracy": 0.8125},
    }
    # The run is resumed: its files have other names.
    before = next((tmp_path / "tmp").glob("*/lr-sweep/0001-s0/ema/*"))
    resumed = RunBoard(sweep / "trials/0001-s0/vdl", ["ema"])
    resumed.begin([], 0)
    resumed.close()
    while before.is_symlink() and time.monotonic() < deadline:
        time.sleep(0.1)
    asked(address, "component_tabs")
    points = json.loads(asked(address, "scalar/list?run=lr-sweep/0002-s0/ema&tag=eval%25loss"))["data"]
    assert [step for _, step, _ in points] == [1, 2, 3]
    process.kill()
    assert is_free(address)
    assert not list((tmp_path / "tmp").iterdir())


def asked(address, what):
    connection = http.client.HTTPConnection(*place(address), timeout=30)
    connection.request("GET", f"/app/api/{what}")
    return connection.getresponse().read().decode()


def test_bad_input_is_one_line(sweep, tmp_path, capsys):
    def refused(*arguments):
        assert main([*map(str, arguments)]) == 2
        return capsys.readouterr().err

    assert refused(tmp_path / "absent") == (
        f"{tmp_path}/absent: this is no run of ppema: there is no such folder: name the output folder of a run\n"
    )
    (tmp_path / "new").mkdir()
    (tmp_path / "new/config.yml").write_text("seed: 0\n")
    assert refused(tmp_path / "new") == "VisualDL has nothing to show: none of the runs has logged a figure yet\n"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert refused(sweep, "--port", port) == (
            f"port {port} of 127.0.0.1 can not be used: Address already in use: name another one, or none\n"
        )
    assert refused(sweep, "--port", 70000) == "port 70000 can not be used: expected a number from 1 to 65535\n"
    assert refused(sweep, "--host", "192.0.2.1").startswith("host 192.0.2.1 can not be used: ")
