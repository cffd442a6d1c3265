from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi_finetune.emulator.core.clock import Clock


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
