"""The forms of a comparison: text, Markdown, CSV, JSON, a figure, and the files of the command."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
from support.comparisons import FAST, SLOW
from support.written_runs import evaluated, write_run

import ppema
from ppema.cli.compare import main
from ppema.errors import DataError
from ppema.experiments.comparison.group_curves import mean_curve


def test_text_fits_80_columns_and_holds_everything(tmp_path):
    figures = {f"metric_of_some_length_{index}": 0.123456 for index in range(8)}
    names = ["a_run_with_a_name_that_is_longer_than_half_of_a_line_of_text", "b", "c"]
    metrics = f"[accuracy, {', '.join(f'{{name: accuracy, as: {name}}}' for name in figures)}]"
    paths = [
        write_run(
            tmp_path / f"{name}-s{seed}",
            evaluated("raw", {40: seed / 10}, **figures),
            f"seed={seed}",
            f"lr={index}.5",
            metrics=metrics,
        )
        for index, name in enumerate(names)
        for seed in range(2)
    ]
    text = ppema.compare(paths, target=0.1).text()
    assert max(map(len, text.splitlines())) <= 80
    assert set(figures) <= set(text.split())
    head, *lines = text.split("\n\n")[1].splitlines()
    assert "".join(line[: head.index("weights")].strip() for line in lines) == "".join(names)


def test_a_single_p_is_not_adjusted(runs):
    one, several = (ppema.compare(chosen).text() for chosen in (runs[:3], runs))
    assert "Holm" not in one and "note: interval and p are Student's, for normal differences; exact: p that" in one
    (contrast,) = ppema.compare(runs[:3]).contrasts
    assert contrast.adjusted == contrast.test.p
    assert "p   Holm  exact" in several and "Holm: p adjusted for\n  4 tests" in several


def test_markdown_has_the_best_in_bold(runs):
    lines = ppema.compare(runs).markdown().splitlines()
    assert lines[2:5] == [
        "| group | weights | runs | accuracy | step |",
        "| --- | --- | ---: | ---: | ---: |",
        "| slow | raw | 3 | 0.9100 ± 0.0100 | 40 |",
    ]
    assert "| fast | ema | 3 | **0.9600 ± 0.0265** | 40 |" in lines


def test_csv_and_json_have_all_values_in_full_precision(runs, capsys):
    found = ppema.compare(runs, target=0.95)
    rows = list(csv.DictReader(found.csv().splitlines()))
    assert [float(row["value"]) for row in rows if row["weights"] == "ema"] == [
        ema for _, ema in (*SLOW.values(), *FAST.values())
    ]
    assert [row["steps_to_target"] for row in rows if row["weights"] == "ema"] == ["", "", "40", "", "40", "40"]
    assert (rows[0]["seed"], rows[0]["finished"], rows[0]["seconds"]) == ("0", "true", "20.0")
    assert main([*runs, "--target", "0.95", "--json"]) == 0
    plain = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert plain == json.loads(json.dumps(found.plain()))
    assert [each["p"] for each in plain["contrasts"]] == [each.test.p for each in found.contrasts]


def test_the_curves_are_means_with_a_band(tmp_path):
    curves = ({10: 0.5, 20: None, 30: 0.7, 40: 0.9}, {10: 0.7, 20: 0.8, 40: 1.0})
    paths = [write_run(tmp_path / f"a-s{s}", evaluated("raw", curve), f"seed={s}") for s, curve in enumerate(curves)]
    found = ppema.compare(paths)
    epochs, means, spreads = mean_curve(found.groups[0], "raw", "accuracy")
    assert epochs.tolist() == [1.0, 2.0, 4.0]
    np.testing.assert_allclose(means, [0.6, math.nan, 0.95])
    np.testing.assert_allclose(spreads, [math.sqrt(0.02), math.nan, math.sqrt(0.005)])
    found.draw(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(DataError, match="none/figure.png: the figure could not be written"):
        found.draw(tmp_path / "none/figure.png")


def test_the_command_writes_files_and_refuses_in_one_line(runs, tmp_path, capsys):
    assert main([*runs, "--weights", "raw,ema", "--to", "table.md", "--figure", "curves.svg"]) == 0
    assert capsys.readouterr() == ("", "comparison: table.md\nfigure: curves.svg\n")
    assert (tmp_path / "table.md").read_text() == ppema.compare(runs).markdown() + "\n"
    assert "<svg" in (tmp_path / "curves.svg").read_text()
    assert main([*runs, "--metric", "f1"]) == 2
    assert capsys.readouterr().err == "--metric f1: slow-s0: 'f1' is not measured; measured are accuracy\n"
    assert main([*runs, "--to", "."]) == 2
    assert main([*runs, "--to", "none/table.csv"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "--to: .: it is a folder: name a file in it",
        "none/table.csv: it can not be written: No such file or directory",
    ]
