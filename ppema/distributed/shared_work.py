"""`SharedWork`, the part of one rank in a work that all ranks share by whole batches."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from ppema.distributed.sent_errors import SENDABLE, Sendable, as_facts, error_of
from ppema.distributed.world import World
from ppema.errors import PeerError

T = TypeVar("T")

_MADE, _FAILED = b"made    ", b"failed  "  # the first 8 bytes, so that arrays that follow are aligned


def nothing() -> None:
    """Do nothing."""


class SharedWork:
    """The part of this rank. All ranks get the parts of all, or raise the error that one process would raise.

    at: the number of the batch that this rank reads or uses.
    """

    def __init__(self, world: World, what: str, abandon: Callable[[], None] = nothing):
        """what: the work, in words, for messages. abandon: called once another rank is at fault, as the process ends then."""
        self._world, self._what, self._abandon = world, what, abandon
        self._error: Sendable | None = None
        self.at = world.ranks.rank

    def each(self, batches: Iterable[T]) -> Iterator[T]:
        """`batches`, those of this rank. `runtime.rank_patience` is the limit of reading one, and of using one.

        The use of its first batch has no limit: Paddle prepares a program in its first run. Raises PeerError.
        """
        first = True
        self._world.enter(f"reading batch {self.at} of {self._what}")
        for batch in batches:
            self._world.enter(f"using batch {self.at} of {self._what}", "slow" if first else "alone")
            yield batch
            first, self.at = False, self.at + self._world.ranks.size
            self._world.enter(f"reading batch {self.at} of {self._what}")

    @contextmanager
    def trying(self) -> Iterator[None]:
        """Keep an error of the context for `gather`, which raises it on all ranks: the others wait there. Raises PeerError."""
        try:
            yield
        except PeerError:
            self._abandon()
            raise
        except SENDABLE as error:
            if self._world.alone:
                raise
            self._error = error

    def gather(self, make: Callable[[], bytes]) -> list[bytes]:
        """What `make()` returns on each rank, in their order, on all of them. It is not called after an error.

        Raises the error of the lowest batch, if there is one, on all ranks. Raises PeerError.
        """
        if self._world.alone:
            return [make()]
        data = b""
        if self._error is None:
            with self.trying():
                data = _MADE + make()
        if self._error is not None:
            data = _FAILED + json.dumps([self.at, as_facts(self._error)]).encode()
        found = self._world.gather(data, self._what)
        self._world.enter(f"using the results of {self._what}", "slow")
        failed = {rank: json.loads(each[8:]) for rank, each in enumerate(found) if each.startswith(_FAILED)}
        if failed:
            rank = min(failed, key=lambda rank: failed[rank][0])
            raise error_of(failed[rank][1], self._error if rank == self._world.ranks.rank else None)
        return [each[8:] for each in found]


def by_first(world: World, make: Callable[[], bytes], what: str) -> bytes:
    """What `make()` returns on rank 0, which alone calls it, on all ranks. what: the work, in words.

    Raises what it raises, if that is an error for users, on all ranks. Raises PeerError.
    """
    made = SharedWork(world, what).gather(make if world.first else bytes)[0]
    world.enter(f"using {what}", "slow")
    return made
