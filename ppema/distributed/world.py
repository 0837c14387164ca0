"""`World`, the processes of a run, and what they exchange between steps."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ppema.distributed.gloo_threads import outlive_gloo
from ppema.distributed.launching.arrival import arrive
from ppema.distributed.lookout import Lookout
from ppema.distributed.rank_activity import Sort
from ppema.errors import PeerError, PpemaError, SetupError, TrainingError, one_line
from ppema.ranks import ONE, Ranks, launched_ranks

if TYPE_CHECKING:
    from ppema.ir import Runner

_OPENED = itertools.count()  # the runs of this process; every rank opens them in the same order
_WORD = 8  # bytes of an int64, as which bytes are summed
_AT_ONCE = 1 << 17  # the most words in one sum: 1 MiB, with which large tables take the least time


class World:
    """The ranks of a run. Each of them calls every method, in the same order, outside of program runs.

    A method waits until all ranks are there before it exchanges anything: no rank waits inside Paddle for the slow work of
    another. With one rank, nothing is exchanged.
    """

    def __init__(self, ranks: Ranks, place: Any = None, lookout: Lookout | None = None):
        """place: the paddle place; lookout: over the other ranks. Both are needed for more than one rank."""
        self.ranks = ranks
        self._place, self._lookout = place, lookout
        self._scope: Any = None
        self._sums: dict[tuple[tuple[int, ...], str], Runner] = {}

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which alone reads the run's folder and writes."""
        return self.ranks.first

    @property
    def alone(self) -> bool:
        """Whether there is one rank only."""
        return self.ranks.size == 1

    def meet(self, what: str) -> None:
        """Wait until all ranks are here. what: is done next, in words, for messages. Raises PeerError if a rank fails."""
        if self._lookout is not None:
            self._lookout.meet(what)

    def enter(self, activity: str, sort: Sort = "alone") -> None:
        """Begin an activity, in words that follow "while", such as "evaluating". The line about a fault names it.

        sort: "slow" may take any time; a rank is at fault if one of another sort lasts longer than `runtime.rank_patience`.
        Raises PeerError if another rank failed. Cheap enough to be called at every step.
        """
        if self._lookout is not None:
            self._lookout.enter(activity, sort)

    def failed(self, error: BaseException) -> None:
        """Let the other ranks know that this one ends with `error`, before it ends. They end with a line about it."""
        if self._lookout is not None and not isinstance(error, PeerError):
            code = error.exit_code if isinstance(error, PpemaError) else 130 if isinstance(error, KeyboardInterrupt) else 1
            self._lookout.failed(one_line(error), code)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """After an error of the context, let the others know of it, as `failed` does, and leave them.

        A script may handle the error and go on: the others end, unless they raise the same one.
        """
        try:
            yield
        except GeneratorExit:  # the caller needs no more of what the context yields
            self.close()
            raise
        except BaseException as error:
            self.failed(error)
            self.close()
            raise

    def explain(self, error: TrainingError) -> TrainingError:
        """The error to raise for a program run between ranks that failed with `error`: PeerError if another one is at fault."""
        return error if self._lookout is None else self._lookout.explain(error)

    def sum(self, array: np.ndarray) -> np.ndarray:
        """The sum of `array` over all ranks: float32, float64 or int64, of one shape on all of them. The ranks have met.

        Raises PeerError.
        """
        if self.alone:
            return array
        import paddle

        from ppema.ir import backend

        self._scope = self._scope or paddle.static.Scope()
        with paddle.static.scope_guard(self._scope):
            key = (array.shape, array.dtype.name)
            if key not in self._sums:
                main = paddle.static.Program()
                with paddle.static.program_guard(main, paddle.static.Program()):
                    given = paddle.static.data("array", list(array.shape), array.dtype.name)
                    total = backend().append_all_reduce(given * 1)
                self._sums[key] = backend().runner(paddle.static.Executor(self._place), self._scope, main, [total])
            try:
                return self._sums[key].run({"array": array})[0]
            except Exception as error:
                raise self.explain(TrainingError(f"a sum over the ranks failed: {one_line(error)}")) from error

    def add_up(self, table: np.ndarray) -> None:
        """Replace `table`, contiguous int64, by its sum over all ranks, in place: 1 MiB at a time. The ranks have met.

        Any bits are exact in a table of which each rank fills a part of its own, and leaves the others 0.
        """
        # The size of a sum is a power of 2, since there is a program for each size.
        size = min(_AT_ONCE, 1 << (table.size - 1).bit_length())
        part, flat = np.zeros(size, np.int64), table.reshape(-1)
        for begin in range(0, flat.size, size):
            words = flat[begin : begin + size]
            part[: words.size], part[words.size :] = words, 0
            words[:] = self.sum(part)[: words.size]

    def gather(self, data: bytes, what: str) -> list[bytes]:
        """The `data` of each rank, in their order, on all of them. what: as for `meet`. Raises PeerError."""
        if self.alone:
            return [data]
        self.meet(what)
        rank, size = self.ranks.rank, self.ranks.size
        lengths = self.sum(np.where(np.arange(size) == rank, len(data), 0).astype(np.int64)).tolist()
        words = [-(-length // _WORD) for length in lengths]
        ends = np.cumsum(words)
        # Each rank fills its own part of the table; the parts of the others are zero there.
        table = np.zeros(max(int(ends[-1]), 1), np.int64)
        begins = (ends - words).tolist()
        table.view(np.uint8)[begins[rank] * _WORD :][: len(data)] = np.frombuffer(data, np.uint8)
        self.add_up(table)
        found = table.view(np.uint8)
        return [found[begin * _WORD :][:length].tobytes() for begin, length in zip(begins, lengths, strict=True)]

    def from_first(self, data: bytes, what: str) -> bytes:
        """The `data` of rank 0, on all ranks. what: as for `meet`. Raises PeerError."""
        return self.gather(data if self.first else b"", what)[0]

    def agree(
        self, facts: dict[str, Any], what: str, remedy: str = "all of them need the same config, data, ppema and Paddle"
    ) -> None:
        """Check that `facts`, of JSON, are the same on all ranks. what: as for `meet`.

        Raises SetupError, which names the first fact that differs, and ends with `remedy`.
        """
        if self.alone:
            return
        found = [json.loads(each) for each in self.gather(json.dumps(facts).encode(), what)]
        for rank, theirs in enumerate(found):
            for name, value in found[0].items():
                if theirs.get(name) != value:
                    raise SetupError(
                        f"{name} differs between the ranks: it is {value} on rank 0 and {theirs.get(name)} on rank {rank}; "
                        f"{remedy}"
                    )

    def close(self) -> None:
        """Leave the others. Rank 0 waits until all have left, unless one failed. Idempotent."""
        if self._lookout is not None:
            self._lookout.close()
            self._lookout = None


ALONE = World(ONE)


def joined(place: Any, patience: float = 45.0) -> World:
    """The World of this process: it connects to the other ranks if Paddle's launcher started several. Paddle is loaded.

    place: the paddle place of this rank; patience: `runtime.rank_patience`. Raises SetupError if the launcher's environment
    variables do not fit together, or if a rank of this machine does not join.
    """
    ranks = launched_ranks()
    if ranks.size == 1:
        return ALONE
    from ppema.ir.processes.joining import join
    from ppema.ir.processes.rank_store import RankStore

    outlive_gloo()
    arrive(ranks)
    join(near=ranks.local_size == ranks.size)
    connect = partial(RankStore, os.environ["PADDLE_MASTER"], ranks.size)
    return World(ranks, place, Lookout(ranks, connect, next(_OPENED), patience))
