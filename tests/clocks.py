"""A clock for what only waits."""

from __future__ import annotations

import attrs

__all__ = ["START_S", "Time"]

START_S = 500.0
"""Not 0, so that a time is not taken for a span."""


@attrs.define
class Time:
    """A clock that passes when it is slept on.

    Attributes:
        now: Seconds.
        slept: Each pause.
    """

    now: float = START_S
    slept: list[float] = attrs.field(factory=list)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
