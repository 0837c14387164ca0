"""The table of trials in VisualDL."""

from __future__ import annotations

from support.sweeps import ledger, swept, until

from ppema.log import run_board


def test_the_table_of_visualdl_is_written_while_the_sweep_goes_on(here, monkeypatch):
    drawn = []

    def slow(folder, values, metric):
        until(lambda: len(ledger(here)) == 2, seconds=10)
        drawn.append((str(folder), values, metric))

    monkeypatch.setattr(run_board, "draw_hyperparameters", slow)
    swept(["lr=0.1,0.01"], "grid", None)
    assert drawn == [(f"s/trials/000{n}-s0/vdl", {"lr": lr, "seed": 0}, "accuracy") for n, lr in enumerate((0.1, 0.01))]
