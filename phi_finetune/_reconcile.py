"""What became of a change whose answer does not tell: it is looked for before anything is said of it.

The transport has sent the request as often as the retry policy allows before this is asked. What is found is adopted;
what does not show after some looks is not there, and only the caller's next call sends it again. So no request is
sent more often than the policy says (reliability.md R4), and none whose outcome is open is repeated blindly.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final, TypeVar

import attrs

from phi_finetune._waiting import Look, Patience, wait_for
from phi_finetune.errors import (
    DeadlineExceeded,
    NotFound,
    OutcomeUnknown,
    PhiFinetuneError,
    ServiceError,
    ServiceUnreachable,
    UnexpectedAnswer,
)
from phi_finetune.protocols import Clock, Listener

__all__ = ["DOUBTFUL", "Change", "settle"]

S = TypeVar("S")
F = TypeVar("F")

DOUBTFUL: Final = frozenset({408, 409, 500, 502, 504})
"""Statuses that do not tell whether a change was made: by this request, by an earlier send of it whose answer was
lost, or by another process (409)."""

_LONGEST: Final = timedelta(hours=1)
"""Ten looks take a minute, but each may be sent again by a patient policy."""
_LONGEST_PAUSE_S: Final = 10.0


@attrs.frozen
class Change:
    """A change, as those who wait for it tell of it.

    Attributes:
        resource: What it makes or changes.
        costs: What may be running, and billing, while nobody knows what became of it.
        next_call: What the caller may do then.
        clock: Time, and its passing.
        notify: Hears of each look that was in vain.
    """

    resource: str
    costs: str
    next_call: str
    clock: Clock
    notify: Listener


def settle(
    send: Callable[[], S],
    look: Callable[[], F | None],
    change: Change,
    doubt: Callable[[S], str | None] = lambda sent: None,
) -> S | F:
    """Send a change, and look for it where the answer is lost, unreadable or doubtful.

    Args:
        send: Sends it. Its lost answers, and its errors with a status of :data:`DOUBTFUL`, are looked into.
        look: What the change has made, or None where that does not show (yet): Azure answers 404 to some first reads
            of what it has just accepted (reliability.md 0, fact 2).
        change: What it is.
        doubt: Why what ``send`` gave is no proof of anything; None where it is.

    Returns:
        What ``send`` gave, or what ``look`` found in its place.

    Raises:
        OutcomeUnknown: The looks were lost too, or the time of the call was up.
        DeadlineExceeded: The time of the call was up before an answer came.
        PhiFinetuneError: What ``send`` raised, where nothing shows.
    """
    try:
        sent = send()
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(f"{change.costs[0].upper()}{change.costs[1:]}. Next: {change.next_call}")
        raise
    except DeadlineExceeded as error:
        error.resource, error.costs, error.next_call = change.resource, change.costs, change.next_call
        raise
    except (ServiceUnreachable, UnexpectedAnswer, ServiceError) as error:
        if isinstance(error, ServiceError) and error.status_code not in DOUBTFUL:
            raise
        found = _looked_for(look, change, error.why or error.what)
        if found is None:
            raise
        return found
    why = doubt(sent)
    if why is None:
        return sent
    found = _looked_for(look, change, why)
    return sent if found is None else found


def _looked_for(look: Callable[[], F | None], change: Change, why: str) -> F | None:
    def seen() -> Look[F]:
        found = look()
        if found is None:
            raise _DoesNotShow(f"{change.resource} does not show")
        return Look("there", found)

    patience = Patience(
        change.resource,
        _LONGEST,
        change.clock,
        change.notify,
        change.next_call,
        longest_s=_LONGEST_PAUSE_S,
    )
    try:
        return wait_for(seen, patience)
    except _DoesNotShow:
        return None
    except PhiFinetuneError as second:
        raise OutcomeUnknown(
            f"It is not known what became of {change.resource}",
            resource=change.resource,
            why=f"the answer does not tell ({why}), and looking does not either ({second.why or second.what})",
            costs=change.costs,
            next_call=change.next_call,
        ) from None


class _DoesNotShow(NotFound):
    """What was looked for is not there, or not yet."""
