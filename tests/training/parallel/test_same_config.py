"""Which keys of the config may differ between the ranks: those that no rank waits for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from support.configs import loader
from support.worlds import on_ranks

from ppema.errors import SetupError
from ppema.training.parallel.same_state import check_same_run


@pytest.mark.parametrize(
    ("override", "differs"),
    [
        ("board.pictures=3", "board.pictures differs between the ranks: it is 0 on rank 0 and 3 on rank 1"),
        ("seed=7", "seed differs between the ranks: it is 0 on rank 0 and 7 on rank 1"),
        ("board.histograms=true", None),
        ("runtime.threads=1", None),
        ("output=elsewhere", None),
    ],
)
def test_a_key_that_decides_what_ranks_exchange_is_compared(tmp_path, override, differs):
    config, data = loader(tmp_path), SimpleNamespace(samples=5)

    def compare(world):
        given = config() if world.first else config(override)
        check_same_run(SimpleNamespace(world=world, config=given, train_loader=data, eval_loader=data))

    for found in on_ranks(2, compare):
        if differs is None:
            assert found is None
        else:
            assert isinstance(found, SetupError) and str(found).startswith(differs)
