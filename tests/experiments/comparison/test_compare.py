"""Comparisons of runs that a test wrote by hand: values derived by hand, and refusals of what can not be compared."""

from __future__ import annotations

import csv
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats
from support.configs import blobs, data_section
from support.written_runs import accuracies, evaluated, write_run

import ppema
from ppema.checkpoint.state import BEGINNING
from ppema.checkpoint.waiting import Waiting
from ppema.cli.compare import main
from ppema.errors import DataError, PpemaError
from ppema.experiments.comparison.group_curves import mean_curve
from ppema.experiments.sweeps.sweep_folder import SweepResults, TrialResult, write_results
from ppema.log.history import Started

# Accuracies of raw and ema by seed, for two rates.
SLOW = {0: (0.90, 0.92), 1: (0.91, 0.92), 2: (0.92, 0.95)}
FAST = {0: (0.93, 0.94), 1: (0.91, 0.95), 3: (0.92, 0.99)}


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Three runs of each rate, with seeds 0 and 1 in common."""
    monkeypatch.chdir(tmp_path)
    for name, lr, values in (("slow", 0.1, SLOW), ("fast", 0.2, FAST)):
        for seed, (raw, ema) in values.items():
            write_run(tmp_path / f"{name}-s{seed}", accuracies(raw=raw, ema=ema), f"lr={lr}", f"seed={seed}")
    return [f"{name}-s{seed}" for name, values in (("slow", SLOW), ("fast", FAST)) for seed in values]


def refused(*arguments, **options) -> str:
    with pytest.raises(PpemaError) as caught:
        ppema.compare(*arguments, **options)
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2
    return str(caught.value)


def test_means_and_spreads_are_over_seeds(runs):
    found = ppema.compare(runs)
    assert [(row.group, row.weights, len(row.runs)) for row in found.rows] == [
        (group, weights, 3) for group in ("slow", "fast") for weights in ("raw", "ema")
    ]
    raw, ema, *_ = (row.figure("accuracy") for row in found.rows)
    assert raw.values == (0.90, 0.91, 0.92)
    assert (raw.mean, raw.spread) == (pytest.approx(0.91), pytest.approx(0.01))
    # The mean of 0.92, 0.92, 0.95 is 0.93; their sample variance is (1 + 1 + 4)·10⁻⁴/2.
    assert (ema.mean, ema.spread) == (pytest.approx(0.93), pytest.approx(math.sqrt(3) / 100))
    assert found.best("accuracy") == pytest.approx(0.96)
    assert found.settings == {"lr.args.learning_rate": {"slow": 0.1, "fast": 0.2}}


def test_tests_are_paired_by_seed(runs):
    """An average and raw share all seeds of their group; the groups share seeds 0 and 1."""
    found = {each.words: each for each in ppema.compare(runs).contrasts}
    assert list(found) == ["ema - raw, slow", "ema - raw, fast", "fast - slow, raw", "fast - slow, ema"]
    for name, values in (("slow", SLOW), ("fast", FAST)):
        test, theirs = found[f"ema - raw, {name}"].test, stats.ttest_rel(*zip(*(v[::-1] for v in values.values()), strict=True))
        assert (test.n, test.p, test.exact) == (3, pytest.approx(theirs.pvalue), 0.25)
    groups = found["fast - slow, ema"].test
    # 0.02 and 0.03: the quantile of 0.975 with one degree of freedom is tan(0.475·π).
    assert (groups.n, groups.difference) == (2, pytest.approx(0.025))
    assert groups.high == pytest.approx(0.025 + math.tan(0.475 * math.pi) * 0.005)
    # Of four tests, the smallest p is multiplied by 4.
    smallest = min(found.values(), key=lambda each: each.test.p)
    assert smallest.adjusted == pytest.approx(min(1.0, 4 * smallest.test.p))


def test_a_target_is_reached_at_the_first_evaluation_that_has_it(tmp_path):
    """Steps without an evaluation are not interpolated. A run that never has it does not count in the mean."""
    curves = {
        0: {10: 0.5, 20: 0.8, 30: 0.7, 40: 0.9},
        1: {10: 0.5, 20: None, 30: 0.8, 40: 0.9},
        2: dict.fromkeys((10, 40), 0.7),
    }
    paths = [write_run(tmp_path / f"a-s{s}", evaluated("raw", curve), f"seed={s}") for s, curve in curves.items()]
    found = ppema.compare(paths, target=0.8)
    (row,) = found.rows
    assert [run.name for run in row.reaching] == list(map(str, paths[:2]))
    assert row.steps_to_target.values == (20, 30)
    assert (row.seconds_to_target.mean, row.seconds_to_target.spread) == (12.5, pytest.approx(math.sqrt(12.5)))
    assert "a      raw       2 of 3  25 ± 7  12.50 ± 3.54" in found.text().splitlines()
    assert "steps and seconds are means over the runs that reached the target" in found.notes


def test_the_target_of_a_loss_is_reached_from_above(tmp_path):
    records = [*evaluated("raw", {10: 0.5}, loss=0.9), *evaluated("raw", {20: 0.6}, loss=0.4)]
    path = write_run(tmp_path / "a", records)
    assert ppema.compare(path, metric="loss", target=0.5).rows[0].steps_to_target.values == (20,)


def test_the_objective_chooses_the_evaluation_of_all_figures(tmp_path):
    records = [
        *evaluated("raw", {20: 0.9}, loss=0.3),
        *evaluated("raw", {30: 0.9}, loss=0.2),
        *evaluated("raw", {40: 0.8}, loss=0.1),
    ]
    path = write_run(tmp_path / "a", records)
    for objective, step, accuracy, loss in (("last", 40, 0.8, 0.1), ("best", 20, 0.9, 0.3)):
        (row,) = ppema.compare([path], objective=objective).rows
        assert (row.steps.mean, row.figure("accuracy").mean, row.figure("loss").mean) == (step, accuracy, loss)
    assert any("they are slightly too good" in note for note in ppema.compare([path], objective="best").notes)


def test_a_figure_that_is_not_finite_is_not_averaged_away(tmp_path):
    paths = [write_run(tmp_path / f"a-s{s}", accuracies(raw=value), f"seed={s}") for s, value in enumerate((0.5, None))]
    found = ppema.compare(paths)
    assert found.rows[0].figure("accuracy").mean is None
    assert found.notes[0] == f"accuracy of raw is not finite in {paths[1]}"


def test_folds_are_repetitions(tmp_path):
    data = f"\n  train: {blobs('samples: 50, batch_size: 8')}\n  split: {{fold: 0, of: 5}}"
    paths = [
        write_run(tmp_path / f"a{fold}", accuracies(raw=0.9 + fold / 100, ema=0.95), f"data.split.fold={fold}", data=data)
        for fold in range(3)
    ]
    found = ppema.compare(paths)
    assert [(group.name, len(group.runs)) for group in found.groups] == [("a", 3)]
    assert found.contrasts[0].test.n == 3
    assert "folds share training samples: intervals over folds are too narrow, and p is too small" in found.notes


def test_sections_that_a_group_lacks_are_one_key_and_defaults_are_filled_in(tmp_path):
    averages = "{ema: {decay: 0.9}}"
    paths = [
        write_run(tmp_path / "a", accuracies(raw=0.5), "averages.ema.bias_correction=true", averages=averages),
        write_run(tmp_path / "b", accuracies(raw=0.5), averages="{ema: {decay: 0.9}, slow: {half_life: 2 epochs}}"),
        write_run(tmp_path / "c", accuracies(raw=0.5), averages="{ema: {decay: 0.9, update_every: 2}}", mix="{mixup: 0.2}"),
    ]
    assert ppema.compare(paths).settings == {
        "mix": {"a": None, "b": None, "c": {"mixup": 0.2}},
        "averages.ema.update_every": {"a": 1, "b": 1, "c": 2},
        "averages.slow": {"b": {"half_life": "2 epochs"}},
    }


def test_groups_have_the_shortest_names_that_tell_them_apart(tmp_path):
    names = ["x/seed0", "x/seed1", "y/0003-s0", "y/0003-s1", "z/0003-s0", "z/0003-s1", "one", "glass0", "glass1"]
    rates = [0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.4, 0.5, 0.5]
    for index, (name, lr) in enumerate(zip(names, rates, strict=True)):
        write_run(tmp_path / name, accuracies(raw=0.5), f"lr={lr}", f"seed={index}")
    groups = ppema.compare([tmp_path / name for name in names]).groups
    assert [group.name for group in groups] == ["x", "y/0003", "z/0003", "one", "glass"]


@pytest.mark.parametrize(
    ("names", "group"),
    [
        (["0003-s42", "0003-s43", "0003-s44"], "0003"),
        (["r50-seed42", "r50-seed43"], "r50"),
        (["a-s1", "a-s10"], "a"),
        (["12", "13"], ""),
        (["v2-s1", "v2"], "v2"),
        (["v2", "v2b"], "v2"),
    ],
)
def test_common_digits_of_seeds_are_no_name(tmp_path, names, group):
    paths = [write_run(tmp_path / name, accuracies(raw=0.5), f"seed={seed}") for seed, name in enumerate(names)]
    assert [each.name for each in ppema.compare(paths).groups] == [group or tmp_path.name]


def test_seeds_with_other_threads_are_one_group(tmp_path):
    """A sweep that continues with other jobs gives them to its later seeds."""
    paths = [
        write_run(tmp_path / f"a-s{seed}", accuracies(raw=0.5), f"seed={seed}", *overrides)
        for seed, overrides in enumerate([["runtime.threads=1"], ["runtime.threads=2"], ["runtime.device=cpu"], []])
    ]
    assert [(group.name, len(group.runs)) for group in ppema.compare(paths).groups] == [("a", 4)]
    write_run(tmp_path / "b", accuracies(raw=0.5), "runtime.onednn=off", "runtime.threads=1")
    # A word that YAML would read as another type has quotes.
    assert ppema.compare([paths[0], tmp_path / "b"]).settings == {"runtime.onednn": {"a-s0": "auto", "b": "off"}}
    assert "'off'" in ppema.compare([paths[0], tmp_path / "b"]).text()


def test_a_sweep_gives_its_finished_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for trial, seed, step in ((0, 0, 40), (0, 1, 40), (1, 0, 40), (1, 1, 20)):
        records = evaluated("raw", {step: 0.5})
        write_run(tmp_path / f"sweep/trials/{trial:04d}-s{seed}", records, f"seed={seed}", f"lr={trial + 1}")
    (tmp_path / "sweep/sweep.yml").touch()
    found = ppema.compare("sweep")
    assert [(group.name, len(group.runs)) for group in found.groups] == [("0000", 2), ("0001-s0", 1)]
    assert found.notes[0] == "sweep: unfinished runs are left out: 0001-s1"


def test_a_sweep_alone_is_compared_with_its_best_trial(tmp_path, monkeypatch):
    """Of complete trials: 0002, with one seed, is better and no baseline."""
    monkeypatch.chdir(tmp_path)
    trials = {0: (0.5, 0.6), 1: (0.7, 0.8), 2: (0.9,)}
    for trial, values in trials.items():
        for seed, value in enumerate(values):
            write_run(tmp_path / f"sweep/trials/{trial:04d}-s{seed}", accuracies(raw=value), f"seed={seed}", f"lr={trial + 1}")
    (tmp_path / "sweep/sweep.yml").touch()
    ends = [TrialResult(number=trial, state="complete", params={}) for trial in trials]
    write_results(
        SweepResults(
            output="sweep", config="a.yml", method="grid", monitor="raw/accuracy", mode="max", over={}, seeds=(0, 1),
            trials=tuple(ends), best=1,
        )
    )  # fmt: skip

    def baselines(*arguments, **options):
        found = ppema.compare(*arguments, **options)
        return {each.before.runs[0].name for each in found.contrasts}, found.notes

    found, notes = baselines("sweep")
    assert found == {"sweep/trials/0001-s0"}
    assert any(note.startswith("the other trials are compared with") for note in notes)
    assert any(note.startswith("trials with fewer seeds than others, such as pruned ones: ") for note in notes)
    assert baselines("sweep", baseline="sweep/trials/0000-s1")[0] == {"sweep/trials/0000-s0"}
    named = [f"sweep/trials/{name}" for name in ("0000-s0", "0000-s1", "0001-s0", "0001-s1")]
    assert baselines(named)[0] == {"sweep/trials/0000-s0"}
    assert refused("sweep", baseline="0007").startswith("baseline: there is no group '0007'; there are ")


def test_groups_without_a_common_seed_are_not_one_run(tmp_path):
    paths = [
        write_run(tmp_path / f"{name}-s{seed}", accuracies(raw=0.5), f"seed={seed}", f"lr={lr}")
        for name, lr, seeds in (("a", 1, (0, 1)), ("b", 2, (2, 3)))
        for seed in seeds
    ]
    assert ppema.compare(paths).notes == ("groups without a common seed have no pairs: train them with the same seeds",)


def test_unfinished_runs_are_marked(tmp_path):
    paths = [write_run(tmp_path / f"a-s{s}", evaluated("raw", {step: 0.5}), f"seed={s}") for s, step in enumerate((40, 20))]
    found = ppema.compare(paths)
    assert found.notes[0] == f"unfinished: {paths[1]} (step 20 of 40)"
    assert "2 (1 unfinished)" in found.text()


def test_machines_that_differ_are_noted(runs):
    for path, paddle in zip(runs, ("3.3.1", "2.6.2"), strict=False):
        start = Started(
            time="2026-01-01T00:00:00+00:00", ppema="1", paddle=paddle, python="3", system="L", processor="p", cores=2
        )
        with open(f"{path}/history.jsonl", "w") as file:
            file.write(start.model_dump_json() + "\n")
    assert "Paddle differs: 3.3.1 in slow-s0; 2.6.2 in slow-s1" in ppema.compare(runs[:2]).notes


def test_different_losses_are_left_out_and_refused_by_name(tmp_path):
    loss = "{name: cross_entropy, args: {label_smoothing: 0.1}}"
    records = evaluated("raw", {40: 0.5}, loss=0.7)
    paths = [write_run(tmp_path / "a", records), write_run(tmp_path / "b", records, loss=loss)]
    found = ppema.compare(paths)
    assert found.metrics == ("accuracy",)
    assert found.notes[0].startswith("the loss is left out")
    assert refused(paths, metric="loss").startswith(
        f"metric: 'loss' of {paths[1]} is not that of {paths[0]}: their configs define"
    )


def test_metrics_that_differ_are_refused(tmp_path):
    records = evaluated("raw", {40: 0.5}, loss=0.7)
    a, b = write_run(tmp_path / "a", records), write_run(tmp_path / "b", [{**each, "f1": 0.5} for each in records], metrics=F1)
    said = f"metric: 'f1' is measured in {b}, but not in {a}; measured in all runs: accuracy, loss"
    assert refused([a, b]) == refused([a, b], metric=["loss", "f1"]) == said
    assert refused([a, b], metric="top5") == f"metric top5: {a}: 'top5' is not measured; measured are loss, accuracy"
    assert ppema.compare([a, b], metric=["loss", "accuracy"]).metrics == ("loss", "accuracy")
    other = write_run(tmp_path / "c", records, metrics="[{name: accuracy, args: {axis: 1}}]")
    assert "their configs define it differently" in refused([a, other])


F1 = "[accuracy, {name: f1, args: {average: macro}}]"


def test_other_evaluation_data_are_refused_unless_that_is_meant(tmp_path):
    other = data_section(blobs("samples: 50, batch_size: 8"), blobs("samples: 22, batch_size: 8", "test"))
    a, b = write_run(tmp_path / "a", accuracies(raw=0.5)), write_run(tmp_path / "b", accuracies(raw=0.5), data=other)
    said = f"figures of different samples can not be compared: data.eval.samples is 21 in {a} and 22 in {b}; any_data compares"
    assert refused([a, b]).startswith(said)
    assert "evaluated on different samples" in ppema.compare([a, b], any_data=True).notes[0]
    # How samples are read is no difference.
    read = write_run(tmp_path / "c", accuracies(raw=0.5), "data.eval.batch_size=7")
    assert len(ppema.compare([a, read]).groups) == 2


def test_a_metric_without_a_direction_needs_one(tmp_path):
    path = write_run(
        tmp_path / "a", [{**each, "skew": 0.5} for each in accuracies(raw=0.5)], metrics="[accuracy, {name: m.skew}]"
    )
    assert ppema.compare(path, metric="skew").best("skew") is None
    assert refused(path, metric="skew", target=0.1) == "mode: is 'skew' best at its max or its min? Say which: max or min"
    assert ppema.compare(path, metric="skew", target=0.6, mode="min").rows[0].steps_to_target.values == (40,)


def test_what_is_no_set_of_runs_is_refused(runs, tmp_path):
    (tmp_path / "link").symlink_to(runs[0])
    assert refused([runs[0], "link"]) == "slow-s0 and link are the same run: name it once"
    assert refused(["nowhere"]).startswith("nowhere: this is no run of ppema: there is no such folder")
    write_run(tmp_path / "copy", accuracies(raw=0.9), "lr=0.1", "seed=1")
    assert refused([*runs, "copy"]).startswith("slow-s1 and copy are one experiment with seed 1: equal seeds")
    write_run(tmp_path / "new", [])
    assert refused(["new"]) == "new: the run has no evaluation yet: it can not be compared"
    assert refused([]) == "expected at least one run"
    assert refused([5]) == "expected runs, or paths of runs and sweeps; got a int"
    assert refused(runs, weights="emma") == "weights: no run has evaluations of 'emma'; there are raw, ema"
    assert refused(runs, target=math.nan) == "target: expected a number, got nan"
    assert refused(runs, objective="first") == "objective: expected last or best, got 'first'"


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


def test_an_early_stop_is_an_end(tmp_path):
    """The last checkpoint has its state, which is read for a run that is shorter than its config says."""
    path = write_run(tmp_path / "a", evaluated("ema", {10: 0.5, 20: 0.4}), "train.early_stop={patience: 1}")
    for waited, finished in ((0, False), (1, True)):
        run = ppema.run(path)
        waiting = Waiting("ema/accuracy", 0.5, 10, 10, 20, waited)
        run.__dict__["last"] = SimpleNamespace(manifest=SimpleNamespace(state=BEGINNING, early_stop=waiting))
        assert ppema.compare([run]).rows[0].runs[0].is_finished is finished
    assert not ppema.compare(path).rows[0].runs[0].is_finished
