"""`Judge`, which finds the rank at fault by what this rank knows of the others."""

from __future__ import annotations

from ppema.distributed.correspondent import ANSWERED, Clock, Correspondent
from ppema.distributed.rank_activity import Activity
from ppema.distributed.verdict import Sighting, Verdict, absent, gone, hanging, mute, parted
from ppema.ranks import Ranks

_ARRIVED = 120.0  # seconds in which all ranks are there, once Paddle connected them
_FAR = 3600.0  # the same for later runs of a job, and processes of other machines: between runs, these show no sign of life


class Judge:
    """Judges the other ranks, and rank 0 itself too, by their notices and processes."""

    def __init__(self, post: Correspondent, clock: Clock, ranks: Ranks, patience: float):
        """patience: seconds without progress after which a rank hangs."""
        self._post, self._clock, self._ranks, self._patience = post, clock, ranks, patience
        self._lost: tuple[Activity, float] | None = None
        self._own = post.activity, 0.0  # this rank's activity, and when it began

    def lost(self, activity: Activity) -> None:
        """The program run of this rank in `activity` failed because of another one. Called by the main thread."""
        self._lost = activity, self._clock.now

    def others_active(self) -> bool:
        """Whether any other rank takes part in the run."""
        return any(each.active and not each.ended for each in self._sightings())

    def verdict(self) -> Verdict | None:
        """The verdict; None while no rank is at fault."""
        mine, seen, now = self._post.activity, self._sightings(), self._clock.now
        found, rank = gone(mine, seen), self._ranks.rank
        if found is not None and (frozen := self._clock.frozen):
            line = f"rank {rank} did not run for {frozen:.0f} s while {mine.text}, and rank {found.rank} ended"
            return Verdict(rank, line)
        if found is None:
            found = self._late(now) or parted(mine, seen)
        if found is None and self._lost is not None:
            activity, begin = self._lost
            found = mute(mine, seen, min(ANSWERED, self._patience)) or absent(activity, now - begin, seen)
        if found is None:
            found = mute(mine, seen, self._patience)
        if found is None and self._ranks.first:
            if self._own[0] != mine:
                self._own = mine, now
            own = Sighting(0, self._own[0], now - self._own[1], 0.0)
            found = hanging([own, *seen], self._patience)
        return found

    def _late(self, now: float) -> Verdict | None:
        """The verdict on a rank that does not begin this run."""
        for rank in range(self._ranks.size):
            if rank == self._ranks.rank:
                continue
            process, limit = self._post.processes.get(rank), _ARRIVED
            if process is not None:
                read = self._ranks.first and rank not in (0, *self._post.heard)
                limit = _FAR if read and not process.near else float("inf")
            if now > limit:
                why = "it ended, or its machine can not be reached"
                return Verdict(rank, f"rank {rank} did not arrive within {limit:.0f} s: {why}")
        return None

    def _sightings(self) -> list[Sighting]:
        """What is known of the other ranks: of those that are read, and of those on this machine."""
        now, ends, heard, found = self._clock.now, self._post.ended, self._post.heard, []
        for rank, process in sorted(self._post.processes.items()):
            notice, near = heard.get(rank), process.near
            if rank == self._ranks.rank or (notice is None and not near):
                continue
            ended = ends.get(rank)
            if rank == 0 and self._post.broken:
                ended = process.ended() if near else None
                if now - self._post.answered > ANSWERED:
                    ended = ended or "is gone, and with it the store of the ranks,"
            if notice is None:
                found.append(Sighting(rank, Activity(0, "slow", "at other work"), 0.0, 0.0, ended))
            else:
                stopped = near and process.stopped()
                since, silent = now - notice.changed, now - notice.beaten
                found.append(Sighting(rank, notice.notice.activity, since, silent, ended, stopped))
        return found
