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


@dataclass(frozen=True)
class Done:
    """The end of the items. error: the exception that ended them, None after the last item."""

    error: BaseException | None


class Handover(Generic[T]):
    """A queue of at most `depth` items from one thread to another. `close` wakes both threads and drops the items."""

    def __init__(self, depth: int = DEPTH):
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

    def get(self) -> T | Done:
        """Wait for the next item. Raises RuntimeError once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) > 0)
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


def prefetch(make: Callable[[], Iterator[T]], handover: Handover[T]) -> Generator[T, None, None]:
    """The items of `make()`, which runs in a thread of its own, up to `handover`'s depth ahead.

    An exception of `make()`, even KeyboardInterrupt, is raised here after the items before it.

    When this generator ends, is closed or is collected, it closes `handover` and waits for the thread. The thread stops at the
    next item of `make()`, or earlier if `make()` checks `handover.closed()`. After JOIN_SECONDS the wait ends; the thread is a
    daemon, so it does not keep the process alive.
    """
    thread = threading.Thread(target=_fill, args=(make, handover), name="ppema-prefetch", daemon=True)
    thread.start()
    try:
        while not isinstance(item := handover.get(), Done):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        handover.close()
        if thread is not threading.current_thread():  # the garbage collector may close this generator in any thread
            thread.join(JOIN_SECONDS)


def _fill(make: Callable[[], Iterator[T]], handover: Handover[T]) -> None:
    try:
        for item in make():
            handover.put(item)
            if handover.closed():
                return
        handover.put(Done(None))
    except BaseException as error:
        handover.put(Done(error))
