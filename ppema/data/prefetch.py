"""Makes items ahead of time in a background thread. Neither side hangs, however the other ends."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

DEPTH = 2  # the most finished items in the queue; one more is in the making
JOIN_SECONDS = 5.0
POLL_SECONDS = 0.5  # a wait for an item checks this often whether it was given up


class GivenUp(Exception):  # noqa: N818  (not an error: the reader no longer waits)
    """The next item did not come in time, and the reader no longer waits for it."""


def never() -> bool:
    """False: wait for each item, however long it takes."""
    return False


@dataclass(frozen=True)
class Done:
    """The end of the items. error: the exception that ended them, None after the last item."""

    error: BaseException | None


class Handover(Generic[T]):
    """A queue of at most `depth` items from one thread to another. `close` wakes both threads and drops the items.

    awaited: whether the reader waits for the other thread in the end.
    """

    def __init__(self, depth: int = DEPTH):
        self.awaited = True
        self._depth = depth
        self._items: deque[T | Done] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def closed(self) -> bool:
        """Whether the queue was closed. Its items are then no longer needed."""
        return self._closed

    def check_open(self) -> None:
        """Raises RuntimeError once closed."""
        if self._closed:
            raise RuntimeError("this epoch is over: its loader was closed or has begun another epoch")

    def put(self, item: T | Done) -> None:
        """Wait for room and add `item`. Once closed, do nothing."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._depth)
            if not self._closed:
                self._items.append(item)
                self._changed.notify_all()

    def get(self, stopped: Callable[[], bool] = never) -> T | Done:
        """Wait for the next item. Raises RuntimeError once closed, and GivenUp soon after `stopped()` becomes true."""
        with self._changed:
            while not self._changed.wait_for(lambda: self._closed or len(self._items) > 0, POLL_SECONDS):
                if stopped():
                    raise GivenUp
            self.check_open()
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Wake both threads and drop the items. Idempotent; may be called from any thread."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()

    def abandon(self) -> None:
        """Close it, and let the reader not wait for the other thread, which may hang."""
        self.awaited = False
        self.close()


def prefetch(
    make: Callable[[], Iterator[T]], handover: Handover[T], stopped: Callable[[], bool] = never
) -> Generator[T, None, None]:
    """The items of `make()`, which runs in a thread of its own, up to `handover`'s depth ahead.

    An exception of `make()`, even KeyboardInterrupt, is raised here after the items before it. Raises GivenUp if no item comes
    for POLL_SECONDS and `stopped()` is true.

    When this generator ends, is closed or is collected, it closes `handover` and waits for the thread. The thread stops at the
    next item of `make()`, or earlier if `make()` checks `handover.closed()`. After JOIN_SECONDS the wait ends; the thread is a
    daemon, so it does not keep the process alive. There is no wait after a signal or GivenUp, because the thread may hang, and
    none after `handover.abandon()`.
    """
    thread = threading.Thread(target=_fill, args=(make, handover), name="ppema-prefetch", daemon=True)
    thread.start()

    def following() -> T | Done:
        try:
            return handover.get(stopped)
        except (GivenUp, KeyboardInterrupt, SystemExit):
            handover.abandon()
            raise

    try:
        while not isinstance(item := following(), Done):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        handover.close()
        # The garbage collector may close this generator in any thread.
        if handover.awaited and thread is not threading.current_thread():
            thread.join(JOIN_SECONDS)


def at_once(make: Callable[[], Iterator[T]], handover: Handover[T]) -> Generator[T, None, None]:
    """The items of `make()`, each made on request. Raises RuntimeError once `handover` is closed, as `prefetch` does."""
    try:
        for item in make():
            handover.check_open()
            yield item
            handover.check_open()
    finally:
        handover.close()


def _fill(make: Callable[[], Iterator[T]], handover: Handover[T]) -> None:
    try:
        for item in make():
            handover.put(item)
            if handover.closed():
                return
        handover.put(Done(None))
    except BaseException as error:
        handover.put(Done(error))
