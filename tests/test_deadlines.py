"""The limit of a call: how long is left, and that nobody sleeps past it."""

from __future__ import annotations

import pytest
from clocks import START_S, Time

from phi_finetune._deadlines import BoundedClock, Deadline
from phi_finetune.errors import DeadlineExceeded


def test_a_deadline_is_so_many_seconds_away() -> None:
    """On the clock it was given, whose beginning is anywhere; past it, less than nothing is left."""
    clock = Time()
    deadline = Deadline.after(clock, 60.0)
    assert (deadline.until_s, deadline.limit_s, deadline.left_s) == (START_S + 60, 60.0, 60.0)
    clock.now += 75
    assert deadline.left_s == -15.0


def test_a_deadline_that_passed_says_how_long_the_call_took() -> None:
    """With the limit, what was asked, and what may be done about it."""
    clock = Time()
    deadline = Deadline.after(clock, 60.0)
    clock.now += 61.5
    error = deadline.exceeded("the job", "it was slow")
    assert (error.resource, error.why) == ("the job", "the job: it was slow")
    assert (error.elapsed_s, error.limit_s, error.last_status) == (61.5, 60.0, None)
    assert error.what == "The call took 62 s, and its limit is 60 s"
    assert error.next_call is not None
    assert "longer timeout" in error.next_call


def test_a_bounded_clock_sleeps_up_to_its_deadline() -> None:
    """Its time is that of the other clock; a sleep that ends with the deadline is slept."""
    clock = Time()
    bounded = BoundedClock(Deadline.after(clock, 60.0))
    bounded.sleep(20.0)
    assert bounded.monotonic() == clock.now == START_S + 20
    bounded.sleep(40.0)
    assert clock.slept == [20.0, 40.0]


def test_a_bounded_clock_does_not_sleep_past_its_deadline() -> None:
    """It sleeps what is left, and tells; once nothing is, it only tells."""
    clock = Time()
    bounded = BoundedClock(Deadline.after(clock, 60.0))
    for _ in range(2):
        with pytest.raises(DeadlineExceeded, match="it had to wait 90 s more") as caught:
            bounded.sleep(90.0)
        assert caught.value.resource == "a pause"
        assert caught.value.elapsed_s == 60.0
    assert clock.slept == [60.0]


def test_less_than_a_second_that_is_left_is_slept() -> None:
    """To the last of it."""
    clock = Time()
    with pytest.raises(DeadlineExceeded):
        BoundedClock(Deadline.after(clock, 0.5)).sleep(1.0)
    assert clock.slept == [0.5]
