from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi_finetune.emulator.core.clock import Clock, ClockStands, Progress, Stage


@given(st.floats(min_value=0, max_value=1e6, exclude_min=True))
def test_any_sleep_moves_the_clock(seconds: float) -> None:
    """Even a time below the clock's resolution of 1 µs does, or a loop that waits for a deadline would hang."""
    clock = Clock()
    clock.sleep(seconds)
    assert clock.monotonic() > 0
    assert clock.monotonic() == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_no_sleep_moves_nothing(seconds: float) -> None:
    """A time of zero or less is no sleep."""
    clock = Clock()
    clock.sleep(seconds)
    assert clock.monotonic() == 0


def test_a_clock_does_not_go_back() -> None:
    """Time that has passed stays passed."""
    clock = Clock()
    with pytest.raises(ValueError, match="cannot go back"):
        clock.advance(timedelta(seconds=-1))


def walk(clock: Clock) -> Progress:
    """A walk of two hours, in two stages."""
    return Progress(clock, [Stage("first", timedelta(hours=1)), Stage("second", timedelta(hours=1))], "end")


def test_instant_reads_let_time_pass() -> None:
    """Each read of an unfinished walk takes the clock to the end of its stage."""
    clock = Clock()
    progress = walk(clock)
    assert [progress.watch(), progress.watch()] == ["second", "end"]
    assert clock.monotonic() == 7200


def test_realistic_reads_move_nothing() -> None:
    """Only the passing of time does, by pauses and by advancing."""
    clock = Clock(progression="realistic")
    progress = walk(clock)
    assert [progress.watch() for _ in range(5)] == ["first"] * 5
    clock.sleep(3600)
    assert progress.watch() == "second"
    clock.advance(timedelta(hours=1))
    assert progress.watch() == "end"


def test_a_manual_clock_moves_by_hand_alone() -> None:
    """Neither reads nor pauses move it."""
    clock = Clock(progression="manual")
    progress = walk(clock)
    clock.sleep(3600)
    clock.take(timedelta(hours=3))
    assert (progress.watch(), clock.monotonic()) == ("first", 0)
    clock.advance_to(clock.now() + timedelta(hours=1))
    assert (progress.watch(), clock.monotonic()) == ("second", 3600)


def wait_for_ever(clock: Clock) -> None:
    """Pause again and again, as somebody does who waits for a time."""
    while clock.monotonic() == 0:
        clock.sleep(30)


def follow(progress: Progress) -> None:
    """Look again and again, as somebody does who waits for a state."""
    while not progress.finished:
        progress.watch()


def test_waiting_for_a_manual_clock_ends() -> None:
    """Whoever waits in vain, by pauses or by reads, is told so, and each time anew."""
    clock = Clock(progression="manual")
    progress = walk(clock)
    for _ in range(2):
        with pytest.raises(ClockStands, match=r"progression is 'manual'.*clock\.advance"):
            wait_for_ever(clock)
    with pytest.raises(ClockStands):
        follow(progress)


def test_reading_a_realistic_clock_alone_ends() -> None:
    """A loop whose pauses pass elsewhere would read for ever."""
    with pytest.raises(ClockStands, match="progression is 'realistic'"):
        follow(walk(Clock(progression="realistic")))


def test_a_clock_that_moves_now_and_then_is_waited_for() -> None:
    """What counts is how long it stands."""
    clock = Clock(progression="manual")
    for _ in range(4):
        for _ in range(1_500):
            clock.sleep(1)
        clock.advance(timedelta(seconds=1))
    assert clock.monotonic() == 4
