"""How many machines are held, and from when to when."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from itertools import pairwise

__all__ = ["FOREVER", "Hold", "at_least", "clipped", "end_of", "later", "together"]

FOREVER = datetime.max.replace(tzinfo=UTC)
"""The end of what nothing will end."""
_SOON = timedelta(minutes=2)


@dataclass(frozen=True)
class Hold:
    """So many machines, from ``started`` until ``until``."""

    machines: int
    started: datetime
    until: datetime


def end_of(ended: datetime | None, now: datetime, *, ending: bool) -> datetime:
    """When something ended; else soon, where that is under way; else never."""
    if ended is not None:
        return ended
    return now + _SOON if ending else FOREVER


def later(when: datetime, by: timedelta) -> datetime:
    """A time, and so much more; :data:`FOREVER` stays what it is."""
    return when if when == FOREVER else when + by


def clipped(holds: Iterable[Hold], started: datetime, until: datetime) -> Iterator[Hold]:
    """What lies between two times."""
    for hold in holds:
        inside = replace(hold, started=max(hold.started, started), until=min(hold.until, until))
        if inside.started < inside.until:
            yield inside


def together(holds: Iterable[Hold]) -> Iterator[Hold]:
    """The machines of all holds, added up, as stretches of an even number."""
    changes: Counter[datetime] = Counter()
    for hold in holds:
        changes[hold.started] += hold.machines
        changes[hold.until] -= hold.machines
    machines = 0
    for begins, ends in pairwise(sorted(changes)):
        machines += changes[begins]
        if machines:
            yield Hold(machines, begins, ends)


def at_least(holds: Sequence[Hold]) -> list[Hold]:
    """The machines that are enough for each hold by itself, as stretches of an even number, in order."""
    waiting = deque(sorted(holds, key=lambda hold: hold.started))
    active: list[tuple[int, datetime]] = []
    found: list[Hold] = []
    for begins, ends in pairwise(sorted({time for hold in holds for time in (hold.started, hold.until)})):
        while waiting and waiting[0].started <= begins:
            hold = waiting.popleft()
            heappush(active, (-hold.machines, hold.until))
        while active and active[0][1] <= begins:
            heappop(active)
        machines = -active[0][0] if active else 0
        if found and (found[-1].machines, found[-1].until) == (machines, begins):
            found[-1] = replace(found[-1], until=ends)
        else:
            found.append(Hold(machines, begins, ends))
    return [hold for hold in found if hold.machines]
