"""Owned time. Nothing in the emulator sleeps or asks the machine what time it is after it has started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

__all__ = ["Clock", "ClockStands", "Progress", "Progression", "Stage", "timestamp"]

Progression = Literal["instant", "realistic", "manual", "live"]
"""What lets time pass, besides ``Clock.advance``: pauses and reads, pauses alone, or nothing; under ``live`` what is
made up of waiting takes no time at all, since what really happens takes its own."""

_WAITS = 2_000
"""So many pauses and reads in a row, all in vain, are a loop that would never end."""


class ClockStands(RuntimeError):
    """Somebody waits for a clock that nobody moves, and would wait for ever."""


class Clock:
    """A clock that moves only when told to.

    Args:
        start: When it starts. None is now.
        progression: ``"instant"``: pauses move it, and so does each read of something unfinished, to the end
            of its stage. ``"realistic"``: pauses move it, reads do not. ``"manual"``: only :meth:`advance`
            and :meth:`advance_to` do. ``"live"``: as manual, but every stage that this emulator makes up lasts no time:
            whoever owns the clock sets it by the machine's.

    Attributes:
        turns: How often anything has entered another state.
    """

    def __init__(self, start: datetime | None = None, progression: Progression = "instant") -> None:
        # Real clients compare expiry times with the machine's clock, so the default start is now.
        self._start = (start or datetime.now(UTC)).replace(microsecond=0)
        self._now = self._start
        self._waits = 0
        self.turns = 0
        self.progression: Progression = progression

    def now(self) -> datetime:
        """The time, in UTC."""
        return self._now

    def advance(self, by: timedelta) -> None:
        """Let time pass.

        Raises:
            ValueError: ``by`` is negative.
        """
        if by < timedelta(0):
            raise ValueError(f"a clock cannot go back: {by}")
        self._now += by
        self._waits = 0

    def advance_to(self, when: datetime) -> None:
        """Let time pass until ``when``; nothing happens where that is past."""
        self.advance(max(when - self._now, timedelta(0)))

    def put(self, when: datetime) -> None:
        """Show another time, be it an earlier one: for whoever carries out again what was done at that time."""
        self._now = when
        self._waits = 0

    def monotonic(self) -> float:
        """Seconds since the clock's start."""
        return (self._now - self._start).total_seconds()

    def sleep(self, seconds: float) -> None:
        """Let so many seconds pass, at once. Any time above 0 moves the clock, so that no waiting loop hangs.

        Raises:
            ClockStands: The progression is manual, and whoever waits has done so many times in vain.
        """
        if seconds > 0:
            self.take(max(timedelta(seconds=seconds), timedelta.resolution))

    def take(self, time: timedelta) -> None:
        """Let the time pass that something takes; under the manual progression it takes none.

        Raises:
            ClockStands: As for :meth:`sleep`.
        """
        if self.progression == "manual":
            self.wait_in_vain()
        elif self.progression != "live":
            self.advance(time)

    def wait_in_vain(self) -> None:
        """Note that somebody waits, and that no time passes.

        Raises:
            ClockStands: It was so for too many times in a row.
        """
        self._waits += 1
        if self._waits >= _WAITS:
            self._waits = 0
            raise ClockStands(
                f"Something waits for the fake's clock, which has stood at {self._now:%Y-%m-%d %H:%M:%S} for "
                f"{_WAITS:,} pauses and reads: the progression is {self.progression!r}. Let time pass with "
                "clock.advance(timedelta(...)) before or while it waits, or take another progression."
            )


@dataclass(frozen=True)
class Stage:
    """A state, and how long it lasts."""

    name: str
    lasts: timedelta


class Progress:
    """A walk through states on the emulator's clock.

    Time moves it; and under the clock's instant progression, so does being watched: each read of an
    unfinished walk lets the clock run to the end of the stage it is in. A poller therefore sees every state,
    one a read, and time stays true.
    """

    def __init__(self, clock: Clock, stages: Sequence[Stage], end: str) -> None:
        self._clock = clock
        self._stages = list(stages)
        self._end = end
        self._entered: list[tuple[str, datetime]] = []
        self._enter(self._stages[0].name if self._stages else end, clock.now())

    @property
    def entered(self) -> Sequence[tuple[str, datetime]]:
        """Each state reached so far, and when."""
        return tuple(self._entered)

    @property
    def finished(self) -> bool:
        """Whether the end was reached."""
        return not self._stages

    @property
    def state(self) -> str:
        """The state at the clock's time; looking moves nothing."""
        while self._stages and self._due() <= self._clock.now():
            self._step()
        return self._entered[-1][0]

    def watch(self) -> str:
        """The state that a poller sees: the clock's, or else, under the instant progression, the next one.

        Raises:
            ClockStands: Too many reads in a row were in vain.
        """
        before = len(self._entered)
        state = self.state
        if self.finished or len(self._entered) > before or self._clock.progression == "live":
            return state
        if self._clock.progression != "instant":
            self._clock.wait_in_vain()
            return state
        self._clock.advance_to(self._due())
        return self.state

    def cut(self, stages: Sequence[Stage], end: str, *, when: datetime | None = None) -> None:
        """Leave the planned way: go through ``stages`` to ``end`` from now on, or from ``when``."""
        self._stages = list(stages)
        self._end = end
        self._enter(self._stages[0].name if self._stages else end, when or self._clock.now())

    def extend(self, stages: Sequence[Stage], end: str) -> None:
        """Go on from the end that was reached, and from the time at which it was reached."""
        self._stages = list(stages)
        self._end = end
        self._enter(self._stages[0].name if self._stages else end, self._entered[-1][1])

    def _due(self) -> datetime:
        lasts = timedelta(0) if self._clock.progression == "live" else self._stages[0].lasts
        return self._entered[-1][1] + lasts

    def _step(self) -> None:
        due = self._due()
        self._stages.pop(0)
        self._enter(self._stages[0].name if self._stages else self._end, due)

    def _enter(self, name: str, when: datetime) -> None:
        self._clock.turns += 1
        self._entered.append((name, when))


def timestamp(when: datetime) -> str:
    """A time as Azure's REST services write it."""
    return when.isoformat(timespec="microseconds").replace("+00:00", "Z")
