"""The commands at the end of a training can be pasted."""

from __future__ import annotations

import argparse
from types import SimpleNamespace

import pytest
from support.configs import loader

from ppema.checkpoint.manifest import SavedField
from ppema.cli.pasted import ending


@pytest.mark.parametrize(
    ("shapes", "suffix"),
    [([[]], ".csv"), ([[5], []], ".csv"), ([[65]], ".jsonl"), ([[], [12, 12]], ".jsonl"), ([[-1]], ".jsonl"), ([], ".csv")],
)
def test_predictions_that_are_no_columns_are_not_written_to_a_table(tmp_path, monkeypatch, shapes, suffix):
    """Those of a segmentation: `predict` refuses a table for them."""
    fields = [SavedField(name="image", shape=[3, 12, 12], dtype="float32", is_target=False)]
    fields += [SavedField(name=f"t{place}", shape=shape, dtype="int64", is_target=True) for place, shape in enumerate(shapes)]
    found = SimpleNamespace(manifest=SimpleNamespace(fields=fields))
    monkeypatch.setattr(ending, "checkpoints_of", lambda config: SimpleNamespace(find=lambda name, how: found))
    arguments = argparse.Namespace(config="x.yml", override=[])
    commands = ending.next_commands(["ppema", "train"], arguments, loader(tmp_path)(), SimpleNamespace(best={}, output="r"))
    assert commands[1] == f"ppema predict -c x.yml --weights ema --input data.eval --to r-ema{suffix}"
