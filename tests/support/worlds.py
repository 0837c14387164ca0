"""Ranks as threads of one process, which take turns: one runs until it waits for the others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from ppema.distributed.rank_activity import Sort
from ppema.distributed.world import World
from ppema.ranks import Ranks


class _Table:
    """What the threads exchange. Only the thread whose turn it is runs."""

    def __init__(self, size: int):
        self.size = size
        self.turn = threading.Condition()
        self.at = 0
        self.ended: set[int] = set()
        self.given: list[dict[int, bytes]] = []

    def wait_for(self, rank: int) -> None:
        with self.turn:
            assert self.turn.wait_for(lambda: self.at == rank, 60), f"rank {rank} waits for rank {self.at}"

    def go_on(self) -> None:
        """Give the turn to the next thread that has not ended."""
        with self.turn:
            left = [(self.at + step) % self.size for step in range(1, self.size + 1)]
            self.at = next((rank for rank in left if rank not in self.ended), self.at)
            self.turn.notify_all()


class ThreadWorld(World):
    """The World of one thread. waits: what the rank waited for, in order.

    sums: the number of elements of each sum, in order. entered: its activities that have a limit, in order.
    """

    def __init__(self, ranks: Ranks, table: _Table):
        super().__init__(ranks)
        self._table = table
        self.waits: list[str] = []
        self.sums: list[int] = []
        self.entered: list[str] = []

    def enter(self, activity: str, sort: Sort = "alone") -> None:
        """See `World.enter`."""
        if sort != "slow":
            self.entered.append(activity)

    def meet(self, what: str) -> None:
        """See `World.meet`."""
        assert set(self.gather(what.encode(), what)) == {what.encode()}

    def sum(self, array: np.ndarray) -> np.ndarray:
        """See `World.sum`."""
        self.sums.append(array.size)
        parts = [np.frombuffer(each, array.dtype) for each in self.gather(array.tobytes(), "a sum")]
        return np.sum(parts, axis=0, dtype=array.dtype).reshape(array.shape)

    def gather(self, data: bytes, what: str) -> list[bytes]:
        """See `World.gather`."""
        table, rank, number = self._table, self.ranks.rank, len(self.waits)
        self.waits.append(what)
        if number == len(table.given):
            table.given.append({})
        table.given[number][rank] = data
        while len(table.given[number]) < table.size:
            assert not table.ended, f"ranks {table.ended} ended while rank {rank} waits: {what}"
            table.go_on()
            table.wait_for(rank)
        return [table.given[number][each] for each in range(table.size)]


def on_ranks(size: int, work: Callable[[World], Any]) -> list[Any]:
    """What `work(world)` returns, or the exception that it raises, on each rank."""
    table, found = _Table(size), [None] * size

    def run(rank: int) -> None:
        table.wait_for(rank)
        try:
            found[rank] = work(ThreadWorld(Ranks(rank, size, rank, size), table))
        except BaseException as error:
            found[rank] = error
        table.ended.add(rank)
        table.go_on()

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return found
