"""How often a request is sent again, and how long to wait before it: the retry policies.

A policy only decides; the transport sends and waits. Which failures are sent again at all is the same for
every policy of this module (:func:`may_send_again`):

========================= ================== ===================== ==================================
failure                   read, named write  score (a question)    action (any other POST)
========================= ================== ===================== ==================================
500, 502                  sent again         sent again            not: it may have been done already
408, 504                  sent again         not: it took too long not: it may have been done already
429, 503                  sent again         sent again            sent again: it was not taken up
401, expired once more    with a new token   with a new token      with a new token
no answer, or half of one sent again         sent again            only where no connection was made
any other status          not                not                   not
========================= ================== ===================== ==================================

The first 401 of a token is no failure: the request is sent with a new token before a policy is asked.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import attrs

from phi_finetune.errors import InvalidParameter, PhiFinetuneError, ServiceError, ServiceUnreachable

if TYPE_CHECKING:
    import random

    from tenacity import RetryCallState
    from tenacity.retry import RetryBaseT
    from tenacity.stop import StopBaseT
    from tenacity.wait import WaitBaseT

    from phi_finetune.protocols import RetryPolicy, Try, VerbClass

__all__ = [
    "LONGEST_WAIT_S",
    "NoRetries",
    "PatientRetries",
    "RetryBudget",
    "StandardRetries",
    "TenacityRetries",
    "checked_wait",
    "for_leaving",
    "may_send_again",
    "retry_after_s",
]

LONGEST_WAIT_S: Final = 86_400.0
"""The longest wait between two sends that any policy may ask for, in seconds: one day."""

_MOST_ATTEMPTS: Final = 1000
_NOT_TAKEN_UP: Final = frozenset({401, 429, 503})
_BROKE: Final = frozenset({500, 502})
_TOOK_TOO_LONG: Final = frozenset({408, 504})
_SENT_AGAIN: Final[Mapping[VerbClass, frozenset[int]]] = {
    "read": _NOT_TAKEN_UP | _BROKE | _TOOK_TOO_LONG,
    "named-write": _NOT_TAKEN_UP | _BROKE | _TOOK_TOO_LONG,
    "score": _NOT_TAKEN_UP | _BROKE,
    "action": _NOT_TAKEN_UP,
}


def may_send_again(failed: Try) -> bool:
    """Tell whether sending this request once more is safe and may help; see the table of this module."""
    if failed.status_code is not None:
        return failed.status_code in _SENT_AGAIN[failed.verb_class]
    return failed.verb_class != "action" or not failed.sent


def checked_wait(wait_s: float | None) -> float | None:
    """Give a policy's answer back if it can be obeyed.

    Raises:
        InvalidParameter: It is not None and not a number of seconds from 0 to :data:`LONGEST_WAIT_S`. Such a
            wait would hang the caller, or not be one.
    """
    if wait_s is None or (isinstance(wait_s, int | float) and 0 <= wait_s <= LONGEST_WAIT_S):
        return wait_s
    raise InvalidParameter(
        f"The retry policy asked to wait {wait_s!r}",
        name="wait_s",
        value=wait_s,
        allowed=f"None, or 0 to {LONGEST_WAIT_S:.0f} seconds",
        next_call="correct the policy's wait_s()",
    )


def retry_after_s(headers: Mapping[str, str], now: float) -> float | None:
    """Give the seconds that an answer asks to be left alone.

    ``retry-after-ms`` and ``x-ms-retry-after-ms`` are read before ``Retry-After``, because they are finer. A
    date that has passed gives 0. A value that means nothing (``abc``, ``-5``, ``NaN``) counts as absent.

    Args:
        headers: The answer's headers; the case of their names does not matter.
        now: The time, in seconds since 1970 (UTC), that a date is measured from where the answer has no ``Date``:
            the clock of whoever wrote the date counts.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        milliseconds = _seconds(lowered.get(name, ""))
        if milliseconds is not None:
            return milliseconds / 1000
    asked = lowered.get("retry-after", "")
    seconds = _seconds(asked)
    if seconds is not None:
        return seconds
    said, asked_s = _moment(lowered.get("date", "")), _moment(asked)
    return None if asked_s is None else max(0.0, asked_s - (now if said is None else said))


def _seconds(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _moment(http_date: str) -> float | None:
    """A date in seconds since 1970 (UTC); None where it is none."""
    from datetime import UTC
    from email.utils import parsedate_to_datetime

    try:
        moment = parsedate_to_datetime(http_date)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _check_seconds(policy: object, field: attrs.Attribute[float], value: float) -> None:
    if not (isinstance(value, int | float) and 0 <= value <= LONGEST_WAIT_S):
        raise _outside(field.name, value, f"0 to {LONGEST_WAIT_S:.0f} seconds")


def _check_attempts(policy: object, field: attrs.Attribute[int], value: int) -> None:
    if not (isinstance(value, int) and 1 <= value <= _MOST_ATTEMPTS):
        raise _outside(field.name, value, f"a whole number from 1 to {_MOST_ATTEMPTS}")


def _outside(name: str, value: object, allowed: str) -> InvalidParameter:
    return InvalidParameter(f"{name}={value!r} is not {allowed}", name=name, value=value, allowed=allowed)


@attrs.frozen
class NoRetries:
    """Every request is sent once."""

    def wait_s(self, failed: Try) -> float | None:
        """Give None: give up."""
        return None


@attrs.frozen(kw_only=True)
class StandardRetries:
    """A few more sends, within two minutes: the default.

    The wait after the n-th send is ``min(initial_s * 2**(n-1), cap_s) + U(0, jitter_s)``, where U is drawn
    evenly. With the defaults that is 0.8 to 4.8 s, then 1.6 to 5.6 s, 3.2 to 7.2 s, 6.4 to 10.4 s: 28 s at
    most over all five sends. Where the answer says Retry-After, the wait is that plus ``U(0, jitter_s)``.

    The jitter is this wide so that of 1,000 clients which fail together at most 5 % come back in any 100 ms.

    Attributes:
        attempts: Sends of one request, the first included.
        budget_s: Seconds after the start of the first send within which the last one starts. A wait that
            would go beyond, Retry-After included, is not begun: the request fails at once.
        initial_s: The first wait without its jitter, in seconds.
        cap_s: The longest wait without its jitter, in seconds.
        jitter_s: The width of the jitter, in seconds; with 0, clients that fail together come back together.
        max_retry_after_s: The longest Retry-After that is obeyed, in seconds; beyond it the request fails at
            once.
        rng: Where the jitter is drawn from. None is Python's own generator, seeded anew in every process.
    """

    attempts: int = attrs.field(default=5, validator=_check_attempts)
    budget_s: float = attrs.field(default=120.0, validator=_check_seconds)
    initial_s: float = attrs.field(default=0.8, validator=_check_seconds)
    cap_s: float = attrs.field(default=30.0, validator=_check_seconds)
    jitter_s: float = attrs.field(default=4.0, validator=_check_seconds)
    max_retry_after_s: float = attrs.field(default=120.0, validator=_check_seconds)
    rng: random.Random | None = attrs.field(default=None, repr=False, eq=False)

    def wait_s(self, failed: Try) -> float | None:
        """Give the seconds to wait before the next send, or None to give up."""
        from tenacity import stop_after_attempt, stop_before_delay, wait_exponential

        if not may_send_again(failed) or _asks_too_much(failed, self.max_retry_after_s):
            return None
        state = _retry_call_state(failed)
        asked = failed.retry_after_s
        backoff = (
            wait_exponential(multiplier=self.initial_s, max=self.cap_s)(state) if asked is None else asked
        )
        state.upcoming_sleep = backoff + self._jitter()
        stop = stop_after_attempt(self.attempts) | stop_before_delay(self.budget_s)
        return None if stop(state) else state.upcoming_sleep

    def _jitter(self) -> float:
        import random

        return (self.rng.uniform if self.rng else random.uniform)(0, self.jitter_s)


@attrs.frozen(kw_only=True)
class PatientRetries(StandardRetries):
    """Many more sends, within half an hour: for a job that runs unattended.

    The law is that of :class:`StandardRetries`; with these defaults the waits grow from 0.8 to 10.8 s up to
    60 to 70 s, and Retry-After is obeyed up to 10 minutes.
    """

    attempts: int = attrs.field(default=30, validator=_check_attempts)
    budget_s: float = attrs.field(default=1800.0, validator=_check_seconds)
    cap_s: float = attrs.field(default=60.0, validator=_check_seconds)
    jitter_s: float = attrs.field(default=10.0, validator=_check_seconds)
    max_retry_after_s: float = attrs.field(default=600.0, validator=_check_seconds)


def for_leaving(retries: RetryPolicy) -> RetryPolicy:
    """The policy for deleting what would go on billing: a patient one, whatever the workspace's own is."""
    if isinstance(retries, PatientRetries):
        return retries
    return PatientRetries(rng=retries.rng if isinstance(retries, StandardRetries) else None)


@attrs.frozen
class TenacityRetries:
    """Any ``stop``, ``wait`` and ``retry`` of tenacity's: ``TenacityRetries(stop_after_delay(60), wait_fixed(2))``.

    They are called with a state whose ``attempt_number``, ``seconds_since_start``, ``upcoming_sleep`` (for
    ``stop``) and ``outcome`` are those of the request; ``outcome.exception()`` has its ``status_code``.
    ``idle_for`` is 0. Where the answer says Retry-After, the wait is no shorter than that.

    Attributes:
        stop: When to give up.
        wait: How long to wait before the next send.
        max_retry_after_s: The longest Retry-After that is obeyed, in seconds; beyond it the request fails at
            once.
        retry: Which failures are sent again, of those that are safe to; None is all of these. What it should see as a
            result, and not as an exception, never comes.
    """

    stop: StopBaseT
    wait: WaitBaseT
    max_retry_after_s: float = attrs.field(default=120.0, validator=_check_seconds, kw_only=True)
    retry: RetryBaseT | None = attrs.field(default=None, kw_only=True)

    def wait_s(self, failed: Try) -> float | None:
        """Give the seconds to wait before the next send, or None to give up.

        Raises:
            InvalidParameter: ``wait`` gave something that can't be waited for.
        """
        if not may_send_again(failed) or _asks_too_much(failed, self.max_retry_after_s):
            return None
        state = _retry_call_state(failed)
        if self.retry is not None and not self.retry(state):
            return None
        own_wait = checked_wait(self.wait(state))
        state.upcoming_sleep = max(own_wait or 0.0, failed.retry_after_s or 0.0)
        return None if self.stop(state) else state.upcoming_sleep


class RetryBudget:
    """What all requests of a workspace together may spend on sending again. Safe to share between threads.

    A service that is down is not helped by every caller's five sends: with this, only the first hundred or so are
    repeated. Then each request is sent once, until requests succeed again and give back what was spent. One fault in
    five never empties it. The numbers are those of botocore's "standard" retries (its ``retries/quota.py``).

    Args:
        capacity: What there is at first, and at most. 0: nothing is ever sent again.
        retry_cost: What a further send costs; it comes back where that send succeeds.
        timeout_cost: What it costs after a timeout, which has cost much already.
        refund: What a request gives that succeeds at once.

    Raises:
        InvalidParameter: One is below 0 or no whole number.
    """

    def __init__(
        self, capacity: int = 500, *, retry_cost: int = 5, timeout_cost: int = 10, refund: int = 1
    ) -> None:
        given = {
            "capacity": capacity,
            "retry_cost": retry_cost,
            "timeout_cost": timeout_cost,
            "refund": refund,
        }
        for name, value in given.items():
            if not isinstance(value, int) or value < 0:
                raise _outside(name, value, "a whole number, 0 or more")
        self.capacity = capacity
        self._costs = (retry_cost, timeout_cost)
        self._refund = refund
        self._left = capacity
        self._lock = threading.Lock()

    @property
    def left(self) -> int:
        """What there is now."""
        return self._left

    def spend(self, *, timed_out: bool) -> int | None:
        """Take what one further send costs, and give that; None, and nothing is taken, where too little is left.

        Args:
            timed_out: Whether the send before it ended in a timeout.
        """
        cost = self._costs[timed_out]
        with self._lock:
            if cost > self._left:
                return None
            self._left -= cost
        return cost

    def give_back(self, spent: int) -> None:
        """Put back what the last further send of a request cost that succeeded; 0 where the first one did."""
        with self._lock:
            self._left = min(self.capacity, self._left + (spent or self._refund))

    def __repr__(self) -> str:
        return f"RetryBudget({self._left} of {self.capacity} left)"


def _asks_too_much(failed: Try, limit_s: float) -> bool:
    return failed.retry_after_s is not None and failed.retry_after_s > limit_s


def _retry_call_state(failed: Try) -> RetryCallState:
    from tenacity import RetryCallState, Retrying

    state = RetryCallState(Retrying(), fn=None, args=(), kwargs={})
    failure = _failure(failed)
    state.set_exception((type(failure), failure, None))
    state.attempt_number = failed.attempt
    # tenacity reads its own clock for these two; the request's elapsed time stands in for it.
    state.start_time, state.outcome_timestamp = 0.0, failed.elapsed_s
    return state


def _failure(failed: Try) -> PhiFinetuneError:
    if failed.status_code is None:
        return ServiceUnreachable("Azure did not answer")
    return ServiceError(f"Azure answered {failed.status_code}", status_code=failed.status_code)
