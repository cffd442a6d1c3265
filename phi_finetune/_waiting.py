"""The only wait loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Generic, TypeVar

import attrs

from phi_finetune.errors import DeadlineExceeded, NotFound, ServiceError, ServiceUnreachable, UnexpectedAnswer
from phi_finetune.events import Event, Waiting
from phi_finetune.protocols import Clock, Listener

__all__ = ["Look", "wait_for", "watch"]

T = TypeVar("T")

FIRST_INTERVAL_S = 2.0
LONGEST_INTERVAL_S = 30.0
GROWTH = 1.5
SHORTEST_HINT_S = 1.0
"""A service that asks for no pause at all, as ``Retry-After: 0`` does, gets it once, and is not asked without end."""
SHORTEST_PAUSE_S = 0.001
"""Less than this is no time to wait: a clock may be too coarse to let it pass."""
LOOKS_MAY_FAIL = 5
"""So many looks in a row may fail, each after its own retries, before a wait gives up."""
SHOWS_WITHIN_LOOKS = 10
"""What was just accepted may be absent from so many first looks; once seen, what is absent is gone."""


@attrs.frozen
class Look(Generic[T]):
    """What one look saw.

    Attributes:
        status: The state, as the service names it.
        value: What was waited for; None while it is not there.
        hint_s: How long the service asks to wait before the next look, in seconds.
        news: What happened since the look before.
    """

    status: str
    value: T | None = None
    hint_s: float | None = None
    news: tuple[Event, ...] = ()


@attrs.frozen
class Patience:
    """How long to wait for what, and who hears of it.

    Attributes:
        resource: What is waited for, for events and errors.
        timeout: How long at most, on a clock that never goes back.
        clock: Time, and its passing.
        notify: Hears of each look that was in vain.
        next_call: What the caller may do once the time is up; also noted on a Ctrl-C.
        first_s: Seconds between the first two looks; each pause is half as long again as the one before.
        longest_s: The longest pause, in seconds.
    """

    resource: str
    timeout: timedelta
    clock: Clock
    notify: Listener
    next_call: str
    first_s: float = FIRST_INTERVAL_S
    longest_s: float = LONGEST_INTERVAL_S

    def check(self, status: str, elapsed_s: float) -> float:
        """The seconds that are left.

        Raises:
            DeadlineExceeded: None are.
        """
        limit_s = self.timeout.total_seconds()
        if limit_s - elapsed_s >= SHORTEST_PAUSE_S:
            return limit_s - elapsed_s
        raise self.exceeded(status, elapsed_s, limit_s)

    def exceeded(self, status: str, elapsed_s: float, limit_s: float) -> DeadlineExceeded:
        """The error that says that the time is up."""
        return DeadlineExceeded(
            f"Waited {elapsed_s:.0f} s for {self.resource}, and the limit is {limit_s:.0f} s",
            resource=self.resource,
            why=f"its last state was {status}",
            costs=f"{self.resource} goes on",
            next_call=self.next_call,
            last_status=status,
            elapsed_s=elapsed_s,
            limit_s=limit_s,
        )


def wait_for(look: Callable[[], Look[T]], patience: Patience) -> T:
    """Look until a value is there, and give it.

    Raises:
        DeadlineExceeded: The time is up. What was waited for goes on.
        PhiFinetuneError: What ``look`` raises; lost connections and errors of the service only after five in a row,
            and NotFound only after ten, or once the thing was seen.
    """
    for seen in watch(look, patience):
        if seen.value is not None:
            return seen.value
    raise AssertionError("watch() ends only with a value")


def watch(look: Callable[[], Look[T]], patience: Patience) -> Iterator[Look[T]]:
    """Give what each look sees, the one with a value last.

    Where the service says how long to wait before the next look, that holds, but for less than a second only
    once.
    """
    clock = patience.clock
    started = clock.monotonic()
    interval_s, floor_s, status = patience.first_s, 0.0, "not looked at yet"
    allowance = _Allowance()
    try:
        while True:
            seen = allowance.look(look)
            if seen is not None:
                status = seen.status
                yield seen
                if seen.value is not None:
                    return
            elapsed_s = clock.monotonic() - started
            left_s = patience.check(status, elapsed_s)
            patience.notify(Waiting(resource=patience.resource, status=status, elapsed_s=elapsed_s))
            hint_s = None if seen is None else seen.hint_s
            clock.sleep(min(left_s, interval_s if hint_s is None else max(hint_s, floor_s)))
            interval_s, floor_s = min(interval_s * GROWTH, patience.longest_s), SHORTEST_HINT_S
    except DeadlineExceeded as error:
        if error.last_status is not None or error.limit_s is None:
            raise
        # The whole call has a limit, which was met in a look or in a pause.
        raise patience.exceeded(status, error.elapsed_s or 0.0, error.limit_s) from error
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(f"{patience.resource} goes on ({status}). Next: {patience.next_call}")
        raise


@attrs.define
class _Allowance:
    """How many looks have failed, and how many more may."""

    failures: int = 0
    absences: int | None = 0

    def look(self, look: Callable[[], Look[T]]) -> Look[T] | None:
        """Look once; None where that failed and may."""
        try:
            seen = look()
        except NotFound:
            if self.absences is None or self.absences + 1 >= SHOWS_WITHIN_LOOKS:
                raise
            self.absences += 1
            return None
        except (ServiceUnreachable, ServiceError, UnexpectedAnswer):
            self.failures += 1
            if self.failures >= LOOKS_MAY_FAIL:
                raise
            return None
        self.failures, self.absences = 0, None
        return seen
