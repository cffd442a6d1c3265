"""How long a call may take in all: the requests in it, their retries, and the pauses between looks."""

from __future__ import annotations

import attrs

from phi_finetune.errors import DeadlineExceeded
from phi_finetune.protocols import Clock

__all__ = ["BoundedClock", "Deadline"]


@attrs.frozen
class Deadline:
    """A time by which a call must be over.

    Attributes:
        clock: Time, and its passing.
        until_s: The time, on that clock.
        limit_s: How long the call was given.
        resource: What the call is about; None where only its requests tell.
    """

    clock: Clock
    until_s: float
    limit_s: float
    resource: str | None = None

    @classmethod
    def after(cls, clock: Clock, limit_s: float, resource: str | None = None) -> Deadline:
        """One that is so many seconds away."""
        return cls(clock, clock.monotonic() + limit_s, limit_s, resource)

    @property
    def left_s(self) -> float:
        """The seconds that are left; negative once it has passed."""
        return self.until_s - self.clock.monotonic()

    def exceeded(self, part: str, why: str) -> DeadlineExceeded:
        """The error that says that it has passed, or would; ``part`` is what of the call could not be ended."""
        elapsed_s = self.limit_s - self.left_s
        return DeadlineExceeded(
            f"The call took {elapsed_s:.0f} s, and its limit is {self.limit_s:.0f} s",
            resource=self.resource or part,
            why=f"{part}: {why}",
            next_call="call again, with a longer timeout; what was asked for may have been done",
            elapsed_s=elapsed_s,
            limit_s=self.limit_s,
        )


@attrs.frozen
class BoundedClock:
    """A clock on which nobody sleeps past a deadline."""

    deadline: Deadline

    def monotonic(self) -> float:
        """The time, on the deadline's own clock."""
        return self.deadline.clock.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait, at most until the deadline.

        Raises:
            DeadlineExceeded: The wait would go on after it.
        """
        left_s = self.deadline.left_s
        if seconds <= left_s:
            self.deadline.clock.sleep(seconds)
            return
        if left_s > 0:
            self.deadline.clock.sleep(left_s)
        raise self.deadline.exceeded("a pause", f"it had to wait {seconds:.0f} s more")
