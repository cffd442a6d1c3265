"""What becomes of a change whose answer does not tell: found, not there, or not to be known."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from clocks import START_S, Time
from tuning import Heard

from phi_finetune._reconcile import DOUBTFUL, Change, settle
from phi_finetune.errors import (
    NotFound,
    OutcomeUnknown,
    PermissionMissing,
    PhiFinetuneError,
    ServiceError,
    ServiceUnreachable,
    UnexpectedAnswer,
)


def change(clock: Time | None = None) -> Change:
    """Making a thing."""
    return Change("the thing", "it may be running", "look again", clock or Time(), Heard())


def giving(*outcomes: object) -> Callable[[], object]:
    """A call that gives these one after the other, and raises those that are errors."""
    rest = iter(outcomes)

    def call() -> object:
        outcome = next(rest)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    return call


def never() -> object:
    """A call that nobody makes."""
    raise AssertionError("called")


def doubtful(statuses: Iterable[int] = DOUBTFUL) -> list[PhiFinetuneError]:
    """Errors that leave it open whether the change was made."""
    return [
        ServiceUnreachable("lost"),
        UnexpectedAnswer("unreadable"),
        *(ServiceError("no", status_code=code) for code in sorted(statuses)),
    ]


def test_which_statuses_do_not_tell() -> None:
    """Those of a service that broke or was slow, and the conflict."""
    assert {408, 409, 500, 502, 504} == DOUBTFUL


def test_what_was_answered_is_not_looked_for() -> None:
    """The answer is the result."""
    assert settle(giving("sent"), never, change()) == "sent"


@pytest.mark.parametrize("error", doubtful(), ids=str)
def test_what_is_found_is_adopted(error: PhiFinetuneError) -> None:
    """At the first look, or once it shows."""
    assert settle(giving(error), giving("found"), change()) == "found"
    clock = Time()
    assert settle(giving(error), giving(None, None, "found"), change(clock)) == "found"
    assert clock.slept == [2.0, 3.0]


@pytest.mark.parametrize("error", doubtful(), ids=str)
def test_what_does_not_show_is_not_there(error: PhiFinetuneError) -> None:
    """After ten looks in about a minute, with pauses of ten seconds at most, the error is told as it was."""
    clock = Time()
    with pytest.raises(type(error)) as caught:
        settle(giving(error), giving(*[None] * 10), change(clock))
    assert caught.value is error
    assert clock.slept == [2.0, 3.0, 4.5, 6.75, *[10.0] * 5]


@pytest.mark.parametrize("code", [400, 403, 404, 412, 429, 503])
def test_an_answer_that_tells_is_not_looked_into(code: int) -> None:
    """The change was not made."""
    with pytest.raises(ServiceError):
        settle(giving(ServiceError("no", status_code=code)), never, change())


def test_another_error_is_not_looked_into() -> None:
    """One of the caller's own making."""
    with pytest.raises(ZeroDivisionError):
        settle(giving(ZeroDivisionError()), never, change())


def test_an_interrupt_says_what_may_be_running() -> None:
    """It is not looked for, since somebody wants to leave."""
    with pytest.raises(KeyboardInterrupt) as caught:
        settle(giving(KeyboardInterrupt()), never, change())
    assert caught.value.__notes__ == ["It may be running. Next: look again"]


def test_an_answer_in_doubt_is_looked_into() -> None:
    """What is found stands in its place; where nothing shows, the answer stands."""
    assert settle(giving("sent"), giving("found"), change(), lambda sent: f"{sent} is old") == "found"
    assert settle(giving("sent"), giving(*[None] * 10), change(), lambda sent: "it is old") == "sent"


@pytest.mark.parametrize(
    ("first", "told"),
    [
        (ServiceError("broke", status_code=500), "broke"),
        (ServiceUnreachable("lost", why="a storm"), "a storm"),
    ],
)
@pytest.mark.parametrize(
    ("second", "also"),
    [(PermissionMissing("may not look"), "may not look"), (ServiceUnreachable("lost", why="dark"), "dark")],
)
def test_looks_that_are_lost_too_leave_it_unknown(
    first: PhiFinetuneError, told: str, second: PhiFinetuneError, also: str
) -> None:
    """The error says why of both, what may cost money, and what to do."""
    with pytest.raises(OutcomeUnknown) as caught:
        settle(giving(first), giving(*[second] * 5), change())
    error = caught.value
    assert error.why == f"the answer does not tell ({told}), and looking does not either ({also})"
    assert (error.resource, error.costs, error.next_call) == ("the thing", "it may be running", "look again")
    assert error.what == "It is not known what became of the thing"
    assert error.__suppress_context__


def test_some_lost_looks_are_borne() -> None:
    """They are not absences."""
    lost = ServiceUnreachable("lost")
    assert settle(giving(lost), giving(lost, None, lost, "found"), change()) == "found"
    assert settle(giving(lost), giving(NotFound("not yet"), "found"), change()) == "found"


def test_looks_have_an_hour() -> None:
    """Each may take long; the last begins within it."""
    clock = Time()

    def slow() -> None:
        clock.now += 700.0

    with pytest.raises(OutcomeUnknown):
        settle(giving(ServiceUnreachable("lost")), slow, change(clock))
    assert 3600 < clock.now - START_S < 3600 + 710
