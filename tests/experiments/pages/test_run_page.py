"""The report of a run: its curves, tables, origins and commands, and values that look like HTML."""

from __future__ import annotations

import json
import os
import re
import socket

import pytest
from support.html_pages import page_at
from support.reported_runs import STEPS_PER_EPOCH, evaluations, intervals, written_config, written_run

import ppema
from ppema.cli.report import main
from ppema.errors import PpemaError
from ppema.log.history import recorded

EVIL = "<script>alert(1)</script>"


@pytest.fixture
def made(tmp_path, monkeypatch):
    """The folder of a run of 100 epochs, with its history."""
    monkeypatch.chdir(tmp_path)
    config = written_config(tmp_path / "mine.yml", "lr=0.2", "output=runs/a")
    run = written_run(tmp_path / "runs/a", config, [*intervals(200), *evaluations(100)], ["warning: slow", "warning: slow"])
    with recorded(run, config, paddle="3.3.1", device="cpu") as ending:
        ending.step = 4600
    return run


def test_every_curve_has_the_values_of_its_weights(made):
    page = page_at(ppema.report(made))
    records = evaluations(100)
    # The raw weights are drawn first, so that the averages lie above them.
    for chart, metric in enumerate(("accuracy", "loss")):
        for index, weights in enumerate(("raw", "ema", "slow")):
            expected = [(each["epoch"], each[metric]) for each in records if each["weights"] == weights]
            found = page.curve(f"metric{chart}-{index}")
            # Coordinates have one decimal, of 520 by 270.
            assert [x for x, _ in found] == pytest.approx([x for x, _ in expected], abs=0.03)
            assert [y for _, y in found] == pytest.approx([y for _, y in expected], abs=1e-3)
    names = {each["data-name"] for each in page.tags("path") if "data-name" in each}
    assert names == {"raw", "ema", "slow", "loss in training", "learning rate", "norm of the gradients"}


def test_its_table(made):
    records = evaluations(100)
    most, least = max(each["accuracy"] for each in records), min(each["loss"] for each in records)
    rows = {row[0]: row[1:] for row in page_at(ppema.report(made)).rows() if row}
    for weights in ("raw", "ema", "slow"):
        of = [each for each in records if each["weights"] == weights]
        top = max(of, key=lambda each: each["accuracy"])
        low = min(of, key=lambda each: each["loss"])
        stars = [" ★" * (top["accuracy"] == most), " ★" * (low["loss"] == least)]
        assert rows[weights] == [
            *(f"{of[-1]['accuracy']:.4f}", f"{top['accuracy']:.4f}{stars[0]}", str(top["step"])),
            *(f"{of[-1]['loss']:.4f}", f"{low['loss']:.4f}{stars[1]}", str(low["step"])),
        ]


def test_its_config_environment_warnings_and_commands(made):
    page = page_at(ppema.report(made))
    rows = page.rows()
    assert ["lr.args.learning_rate", "0.2", "override"] in rows and ["train.epochs", "100", "mine.yml:9:9"] in rows
    assert not any(row[0] == "seed" for row in rows if row)
    assert all(each in page.text for each in ("3.3.1", "slow (2 times)"))
    assert facts(page)["state"] == "done" and facts(page)["steps"] == str(100 * STEPS_PER_EPOCH)
    assert "ppema train -c mine.yml -o lr=0.2 -o output=runs/a-again" in page.text.replace(str(made), "runs/a")
    assert "ppema eval -c mine.yml -o lr=0.2 -o output=runs/a --checkpoint best" in page.text.replace(str(made), "runs/a")


def facts(page):
    return dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page.source))


def check(page):
    """It is well formed, and names nothing outside of it."""
    assert page.faults == []
    assert not any(
        {"src", "href", "style"} & set(each) or any(name.startswith("on") for name in each) for _, each in page.elements
    )
    assert "//" not in page.source.replace("// The page is complete", "") and "@import" not in page.source
    assert page.source.count("url(") == page.source.count("url(#")
    assert (
        len(page.tags("script"))
        == len(page.tags("style"))
        == len(page.tags("h1"))
        == len(page.tags("title")) - len(page.tags("svg"))
    )


def test_it_is_small_and_names_nothing_outside(made):
    file = ppema.report(made)
    check(page_at(file))
    assert file == made / "report.html" and file.stat().st_size < 300_000
    assert "<script>" in file.read_text() and "Content-Security-Policy" in file.read_text()


def test_what_looks_like_html_is_text(tmp_path):
    """In the name of the run, of a class and of a metric, in a value of the config, and in a warning."""
    name = "<script>a & b<b onload='x'>"
    config = written_config(
        tmp_path / "mine.yml", f"data.classes=[{EVIL}, b]", f"optimizer.args={{x: '{EVIL}'}}", "metrics=[accuracy]"
    )
    records = [{**each, EVIL: 0.5, "confusion_matrix": [[3, 1], [0, 4]]} for each in evaluations(3)]
    run = written_run(tmp_path / name, config, records, [f"warning: {EVIL}\x1b[31m \ud800"[:-1]])
    with recorded(run, config):
        pass
    page = page_at(ppema.report(run))
    check(page)
    assert page.text.count(EVIL) >= 6 and name in page.text
    assert "\\x1b[31m" in page.text and "\x1b" not in page.source


def test_a_run_without_evaluations_and_without_history(tmp_path):
    run = written_run(tmp_path / "run", written_config(tmp_path / "c.yml"), [])
    page = page_at(ppema.report(ppema.run(run), tmp_path / "a.html"))
    check(page)
    assert "No evaluation was recorded yet." in page.text and "not trained yet" in page.text
    assert f"ppema train -c {run}/config.yml -o output={run}-again" in page.text


def test_values_that_are_missing_or_not_finite(tmp_path):
    records = [{**each, "loss": None, "accuracy": None if each["epoch"] == 2 else each["accuracy"]} for each in evaluations(3)]
    run = written_run(tmp_path / "run", written_config(tmp_path / "c.yml"), records)
    page = page_at(ppema.report(run))
    check(page)
    # A gap in the curve: two parts, of one point each. A metric without a finite value has no chart.
    assert [each["d"].count("M") for each in page.tags("path") if each.get("id", "").startswith("metric")] == [2, 2, 2]
    assert any(row[:1] == ["ema"] and row[4:] == ["–", "–", "–"] for row in page.rows())


@pytest.mark.parametrize(("process", "state"), [(os.getpid(), "running"), (2**22 + 1, "killed")], ids=["running", "killed"])
def test_a_run_that_has_not_ended(made, process, state):
    (made / "lock").write_text(f"process {process} on {socket.gethostname()}, since 2026-01-01\n")
    lines = (made / "history.jsonl").read_text().splitlines()
    (made / "history.jsonl").write_text("\n".join([*lines, lines[0]]) + "\n")
    page = page_at(ppema.report(made))
    check(page)
    assert facts(page)["state"] == state and ("still going on" in page.text) == (state == "running")
    assert [row[3] for row in page.rows() if len(row) == 7 and row[0][:2] == "20"] == ["done", state]


def test_the_command(made, capsys, monkeypatch):
    assert main([str(made), "--json"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [f"report: {made}/report.html", json.dumps({"report": f"{made}/report.html"})]
    assert main([str(made), "--to", "nowhere/a.html"]) == 1
    assert capsys.readouterr().err == "nowhere/a.html: the report could not be written: No such file or directory\n"
    assert main(["nowhere"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "nowhere: this is no run of ppema: there is no such folder: name the output folder of a run"
    with pytest.raises(PpemaError, match=r"^nowhere: this is no run"):
        ppema.report("nowhere")
