"""Predictions of several ranks, which take turns: the batches, the order and the errors of one process."""

from __future__ import annotations

import numpy as np
import pytest
from support.worlds import on_ranks

from ppema.data.dataset import Dataset
from ppema.data.fields import Field
from ppema.data.given.array_inputs import ArrayInputs
from ppema.data.given.csv_inputs import CsvForm, CsvInputs
from ppema.data.given.loader_inputs import LoaderInputs
from ppema.data.given.npz_inputs import NpzInputs
from ppema.data.given.preparation import Preparation
from ppema.data.inputs import BatchTurns
from ppema.data.loader import Loader
from ppema.errors import DataError, PeerError, TrainingError
from ppema.prediction.predicted import PredictedBatch
from ppema.prediction.rounds import in_rounds
from ppema.prediction.sources import Chained

ROWS = np.arange(26, dtype=np.float32).reshape(13, 2)
FIELDS = (Field((2,), "float32", "x"),)


class Rows(Dataset):
    """Row 4 can not be read."""

    def __len__(self):
        return len(ROWS)

    def __getitem__(self, index):
        if index == 4:
            raise ValueError("torn")
        return ROWS[index], 0


def sources(folder, on_error):
    """Of each kind one; the first number of row 4 is NaN, or the row can not be read."""
    how = Preparation(FIELDS, on_error=on_error)
    torn = ROWS.copy()
    torn[4, 0] = np.nan
    np.savez(folder / "x.npz", x=torn)
    lines = [",".join(map(str, row)) for row in ROWS.tolist()]
    lines[4] = "a,b"
    (folder / "x.csv").write_text("\n".join(lines) + "\n")
    return [
        ArrayInputs(torn, how),
        NpzInputs(str(folder / "x.npz"), how),
        CsvInputs(str(folder / "x.csv"), how, CsvForm(header=False)),
        LoaderInputs(Loader(Rows(), batch_size=3, label="rows"), how),
    ]


def predicted(world, source):
    """Batches as a model that doubles its input gives them, and the error that ended them."""
    found, error = [], ""
    own = (
        PredictedBatch(each.names, {"y": 2 * each.arrays[0]} if each.names else {}, (), each.failed, str(each.names), each.more)
        for each in source.batches(3, BatchTurns(world.ranks))
    )
    try:
        for each in own if world.alone else in_rounds(world, own, ()):
            found.append((each.names, each.outputs.get("y", ROWS[:0]).tobytes(), each.failed, each.doubt))
    except (DataError, TrainingError) as caught:
        error = str(caught)
    return found, error


@pytest.mark.parametrize("on_error", ["skip", "stop"])
def test_batches_and_errors_of_all_sources_are_those_of_one_process(tmp_path, on_error):
    several = [lambda each=each: sources(tmp_path, on_error)[each] for each in range(4)]
    if on_error == "skip":
        several.append(lambda: Chained(sources(tmp_path, on_error)))
    for source in several:
        ((alone, error),) = on_ranks(1, lambda world, source=source: predicted(world, source()))
        assert len(alone) >= (5 if on_error == "skip" else 1) and bool(error) == (on_error == "stop")
        for size in (2, 3, 7):
            assert on_ranks(size, lambda world, source=source: predicted(world, source())) == [(alone, error)] * size


def test_an_error_in_the_middle_of_a_turn_comes_after_what_was_made_before():
    def own(world):
        for turn in range(world.ranks.rank, 5, world.ranks.size):
            yield PredictedBatch((f"{turn}a",), {}, (), more=True)
            if turn == 3:
                raise TrainingError("broken")
            yield PredictedBatch((f"{turn}b",), {}, ())

    def work(world):
        names = []
        with pytest.raises(TrainingError, match="broken"):
            names.extend(name for batch in in_rounds(world, own(world), ()) for name in batch.names)
        return names

    assert on_ranks(2, work) == [["0a", "0b", "1a", "1b", "2a", "2b", "3a"]] * 2


def test_a_turn_has_a_limit_but_not_the_first_and_not_what_is_done_with_its_predictions():
    def work(world):
        source = LoaderInputs(Loader(Rows(), batch_size=3, label="rows"), Preparation(FIELDS, on_error="skip"))
        limited = []
        for _ in in_rounds(
            world, (PredictedBatch(each.names, {}, ()) for each in source.batches(3, BatchTurns(world.ranks))), ()
        ):
            limited.append(list(world.entered))
        return limited[-1]

    assert on_ranks(2, work) == [["predicting in turn 2", "predicting in turn 3"]] * 2


def test_a_fault_of_another_rank_is_raised_at_once():
    def own():
        raise PeerError("rank 1 was killed")
        yield

    def work(world):
        with pytest.raises(PeerError):
            next(in_rounds(world, own(), ()))
        return world.waits

    assert on_ranks(1, work) == [[]]
