"""The store of the ranks as a table of this process, with which ranks are threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from ppema.distributed.lookout import Lookout
from ppema.ranks import Ranks


class SharedTable:
    """In place of `RankStore`: `folder` gives the connection of one folder."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._values: dict[str, str | int] = {}

    def folder(self, folder: str) -> _Folder:
        """The keys of `folder`."""
        return _Folder(self, folder)

    def put(self, key: str, change: Callable[[str | int | None], str | int]) -> str | int:
        """Replace the value of `key` by `change` of it, and return it."""
        with self._changed:
            self._values[key] = change(self._values.get(key))
            self._changed.notify_all()
            return self._values[key]

    def wait_for(self, key: str) -> str:
        """The value of `key`, once there is one."""
        with self._changed:
            assert self._changed.wait_for(lambda: key in self._values, 30), key
            return str(self._values[key])


class _Folder:
    def __init__(self, table: SharedTable, name: str):
        self._table, self._name = table, name

    def set(self, key: str, value: str) -> None:
        self._table.put(f"{self._name}/{key}", lambda _: value)

    def get(self, key: str) -> str:
        return self._table.wait_for(f"{self._name}/{key}")

    def add(self, key: str, number: int) -> int:
        return int(self._table.put(f"{self._name}/{key}", lambda before: int(before or 0) + number))


class Lookouts:
    """Makes lookouts of ranks, and ends their threads."""

    def __init__(self) -> None:
        self._made: list[Lookout] = []

    def __call__(self, table: SharedTable, rank: int, *, size: int = 2, run: int = 0, patience: float = 45.0) -> Lookout:
        """The lookout of `rank` of `size`. It waits for the others."""
        made = Lookout.__new__(Lookout)
        self._made.append(made)
        made.__init__(Ranks(rank, size, rank, size), table.folder, run, patience)
        return made

    def end(self) -> None:
        """End all threads."""
        for each in self._made:
            each._failed = True
            each.close()
            each._thread.join()


def in_thread(work: Callable[[], object]) -> Future:
    """The result of `work`, which runs in another thread."""
    return ThreadPoolExecutor(1).submit(work)
