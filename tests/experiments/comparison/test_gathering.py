"""The runs of a comparison, written by hand: found, grouped, named, and refused if they can not be compared."""

from __future__ import annotations

import math

import pytest
from support.comparisons import refused
from support.configs import blobs, data_section
from support.written_runs import accuracies, evaluated, write_run

import ppema


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


def test_the_only_trial_of_a_sweep_has_the_name_of_the_sweep(tmp_path):
    """Two sweeps over seeds, and one whose only trial so far is not its only one."""
    for name, lr, trials in (("small-sweep", 1, 1), ("large-sweep", 2, 1), ("more-sweep", 3, 4)):
        runs = [
            write_run(tmp_path / f"{name}/trials/0000-s{seed}", accuracies(raw=0.5), f"lr={lr}", f"seed={seed}")
            for seed in range(2)
        ]
        text = (runs[0] / "config.yml").read_text()
        (tmp_path / f"{name}/sweep.yml").write_text(f"{text}sweep: {{over: {{lr: [1]}}, trials: {trials}}}\n")
    sweeps = [tmp_path / f"{name}-sweep" for name in ("small", "large", "more")]
    assert [group.name for group in ppema.compare(sweeps).groups] == ["small-sweep", "large-sweep", "0000"]
    runs = [tmp_path / f"small-sweep/trials/0000-s{seed}" for seed in range(2)]
    assert [group.name for group in ppema.compare(runs).groups] == ["small-sweep"]


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
