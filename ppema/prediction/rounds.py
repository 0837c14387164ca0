"""Predictions of several ranks in the order of the inputs: in each round, every rank makes the next batch of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count

from ppema.distributed.parcels import packed, unpacked
from ppema.distributed.sent_errors import SENDABLE, Sendable, as_facts, error_of
from ppema.distributed.world import World
from ppema.errors import PeerError
from ppema.prediction.predicted import OutputForm, PredictedBatch


def in_rounds(world: World, own: Iterator[PredictedBatch], forms: Sequence[OutputForm]) -> Iterator[PredictedBatch]:
    """The batches of all ranks, on each of them: first those of rank 0's turn, then of rank 1's, and so on.

    own: the batches of this rank, which are read one turn at a time. forms: of the outputs. An error of a turn is raised by all
    ranks, after the batches before it. `runtime.rank_patience` is the limit of a turn after the first. Raises PeerError.
    """
    for turn in count():
        made, error, over = list[PredictedBatch](), None, False
        # Paddle prepares the program in the first turn.
        world.enter(f"predicting in turn {turn + 1}", "alone" if turn else "slow")
        try:
            over = not _fill(made, own)
        except PeerError:
            raise
        except SENDABLE as caught:
            error = caught
        sent = world.gather(_packed(made, error, over), "the next predictions")
        world.enter("using predictions", "slow")
        for rank, data in enumerate(sent):
            (facts, theirs, last), arrays = unpacked(data)
            left = iter(arrays)
            for names, failed, doubt, outputs in facts:
                found = {name: next(left) for name in outputs}
                yield PredictedBatch(tuple(names), found, forms, tuple((name, why) for name, why in failed), doubt)
            if theirs is not None:
                raise error_of(theirs, error if rank == world.ranks.rank else None)
            if last:
                return


def _fill(made: list[PredictedBatch], own: Iterator[PredictedBatch]) -> bool:
    """Append the batches of the next turn. Returns whether there was one."""
    for batch in own:
        made.append(batch)
        if not batch.more:
            return True
    return False


def _packed(made: Sequence[PredictedBatch], error: Sendable | None, over: bool) -> bytes:
    facts = [(each.names, each.failed, each.doubt, list(each.outputs)) for each in made]
    arrays = [array for each in made for array in each.outputs.values()]
    return packed([facts, None if error is None else as_facts(error), over], arrays)
