"""`Verdict`, which rank of a job is at fault, and the rules by which it is found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ppema.distributed.rank_activity import Activity

_SOON, _LATE = 3.0, 8.0  # seconds after which a rank whose program run failed looks for the others, and for several at once


@dataclass(frozen=True)
class Verdict:
    """Why the job ends. rank: at fault. line: for people. code: exit code of the job. own: whether that rank wrote this."""

    rank: int
    line: str
    code: int = 1
    own: bool = False


@dataclass(frozen=True)
class Sighting:
    """What this rank knows of another one.

    activity: the newest. since: seconds in which it was the same. silent: seconds without a sign of life. ended: how its
    process ended, in words, or None. stopped: whether it is suspended. Of another machine's process only silence is known.
    """

    rank: int
    activity: Activity
    since: float
    silent: float
    ended: str | None = None
    stopped: bool = False

    @property
    def active(self) -> bool:
        """Whether it takes part."""
        return self.activity.sort != "left"


def gone(mine: Activity, seen: Sequence[Sighting]) -> Verdict | None:
    """The verdict on a process that ended without having left. mine: the activity of this rank."""
    for each in seen:
        if each.active and each.ended:
            return Verdict(each.rank, f"rank {each.rank} {each.ended} while {_doing(mine, each)}")
    return None


def parted(mine: Activity, seen: Sequence[Sighting]) -> Verdict | None:
    """The verdict on a rank that has left while this one waits for it. mine: the activity of this rank."""
    for each in seen:
        # A notice may be older than the meeting's last rank.
        if mine.sort == "waiting" and not each.active and each.since >= _SOON:
            return Verdict(each.rank, f"rank {each.rank} had left the run while the others were {mine.text}")
    return None


def mute(mine: Activity, seen: Sequence[Sighting], limit: float) -> Verdict | None:
    """The verdict on a process that gave no sign of life for `limit` seconds. In slow work only a stopped one counts.

    mine: the activity of this rank.
    """
    for each in seen:
        if not each.active or each.silent < limit:
            continue
        if each.stopped:
            reason = f"was stopped by a signal {each.silent:.0f} s ago"
        elif each.activity.sort != "slow":
            reason = f"has not answered for {each.silent:.0f} s"
        else:
            continue
        return Verdict(each.rank, f"rank {each.rank} {reason}, while {_doing(mine, each)}")
    return None


def _doing(mine: Activity, each: Sighting) -> str:
    """What a rank was doing. The step that this rank runs is that of both, and newer than the other's last notice."""
    # A rank of which no notice was read yet has the number 0.
    steps = mine.sort in ("together", "lost") and (each.activity.sort != "slow" or not each.activity.number)
    return mine.text if steps else each.activity.text


def absent(mine: Activity, lost: float, seen: Sequence[Sighting]) -> Verdict | None:
    """The verdict once a program run of this rank failed because of another one.

    mine: the activity of the failed run; lost: seconds since then; seen: the other ranks.
    """
    if lost < _SOON:
        return None
    for each in seen:
        if not each.active:
            return Verdict(each.rank, f"rank {each.rank} had left the job before the others were {mine.text}")
    # A rank that waits for this one, or runs the same step, is less to blame than one with work of its own.
    for sorts in (("alone", "slow"), ("together",), ("waiting",)):
        found = [each for each in seen if each.activity.sort in sorts and each.since >= _SOON]
        if len(found) == 1 or (found and lost >= _LATE):
            return _idle(found, f"while the others were {mine.text}")
    if lost >= _LATE or all(each.activity.sort == "lost" for each in seen):
        return Verdict(seen[0].rank, f"the connection to rank {seen[0].rank} broke while {mine.text}")
    return None


def hanging(seen: Sequence[Sighting], patience: float) -> Verdict | None:
    """The verdict on ranks that are in one activity for `patience` seconds. seen: all ranks, this one too."""
    active = [each for each in seen if each.active]
    if any(each.activity.sort in ("slow", "lost") for each in active):
        return None
    found = [each for each in active if each.activity.sort == "alone" and each.since >= patience]
    if not found and all(each.since >= patience for each in active):
        found = [each for each in active if each.activity.sort == "together"] or active
    return _idle(found, f"longer than runtime.rank_patience ({patience:.0f} s)") if found else None


def _idle(found: Sequence[Sighting], why: str) -> Verdict:
    """The verdict on one or several ranks that have been in one activity for too long."""
    long = "; ".join(f"rank {each.rank} hangs: {each.since:.0f} s of {each.activity.text}" for each in found)
    return Verdict(found[0].rank, f"{long}, {why}")
