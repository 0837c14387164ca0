"""`Activity`, what a rank is doing, and for which reason it may take long."""

from __future__ import annotations

from typing import Literal, NamedTuple

# alone: its own work, which has a limit; slow: its own work without one; together: a program run that waits for the other
# ranks; waiting: until all are at the same place; lost: its program run failed because of another rank; left: done, for good.
Sort = Literal["alone", "slow", "together", "waiting", "lost", "left"]


class Activity(NamedTuple):
    """number: grows with each activity; sort: of it; text: in words that follow "while", such as "running step 12"."""

    number: int
    sort: Sort
    text: str
