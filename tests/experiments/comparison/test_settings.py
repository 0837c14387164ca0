"""The keys of the configs in which groups differ."""

from __future__ import annotations

from support.written_runs import accuracies, write_run

import ppema


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
