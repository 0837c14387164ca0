"""The group with which the others are compared."""

from __future__ import annotations

from support.comparisons import refused
from support.written_runs import accuracies, write_run

import ppema
from ppema.experiments.sweeps.sweep_folder import SweepResults, TrialResult, write_results


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
