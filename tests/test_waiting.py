from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta

import pytest
from clocks import START_S, Time
from hypothesis import given
from hypothesis import strategies as st
from tuning import Heard

from phi_finetune._waiting import Look, Patience, wait_for, watch
from phi_finetune.errors import (
    DeadlineExceeded,
    NotFound,
    PhiFinetuneError,
    ServiceError,
    ServiceUnreachable,
    UnexpectedAnswer,
)
from phi_finetune.events import Waiting


def patience(clock: Time, heard: Heard, *, seconds: float = 1000.0) -> Patience:
    """Patience for a thing."""
    return Patience("thing", timedelta(seconds=seconds), clock, heard, "look again")


def looks(seen: Iterable[Look[str] | PhiFinetuneError]) -> Callable[[], Look[str]]:
    """Looks that see these one after the other."""
    waiting = iter(seen)

    def look() -> Look[str]:
        found = next(waiting)
        if isinstance(found, PhiFinetuneError):
            raise found
        return found

    return look


BUSY: Look[str] = Look("Busy")
DONE = Look("Done", "value")


def test_a_value_ends_the_wait() -> None:
    """The first look may be enough, and then nothing is waited for."""
    clock, heard = Time(), Heard()
    assert wait_for(looks([DONE]), patience(clock, heard)) == "value"
    assert (clock.slept, heard) == ([], [])


def test_pauses_grow_up_to_a_limit() -> None:
    """Each is half as long again as the one before, and none is longer than the longest."""
    clock, heard = Time(), Heard()
    wait_for(looks([*[BUSY] * 9, DONE]), patience(clock, heard))
    assert clock.slept[:4] == [2.0, 3.0, 4.5, 6.75]
    assert clock.slept[-1] == 30.0


def test_what_the_service_asks_for_holds() -> None:
    """What a look says is waited; no pause at all is given once only, for that would be a loop without end."""
    clock = Time()
    wait_for(looks([Look("Busy", hint_s=17.0), Look("Busy", hint_s=0.0), DONE]), patience(clock, Heard()))
    assert clock.slept == [17.0, 1.0]


def test_each_look_in_vain_is_told() -> None:
    """With the state, and the seconds since the beginning."""
    heard = Heard()
    wait_for(looks([BUSY, Look("Busier"), DONE]), patience(Time(), heard))
    assert heard == [Waiting("thing", "Busy", 0.0), Waiting("thing", "Busier", 2.0)]


def test_watching_gives_every_look() -> None:
    """The one with the value last."""
    seen = list(watch(looks([BUSY, BUSY, DONE]), patience(Time(), Heard())))
    assert seen == [BUSY, BUSY, DONE]
    assert [look.news for look in seen] == [(), (), ()]


@given(seconds=st.floats(0.1, 10_000), hints=st.lists(st.none() | st.floats(0.5, 500), min_size=1))
def test_no_wait_outlasts_its_limit(seconds: float, hints: list[float | None]) -> None:
    """Whatever the service asks for, the last look is at the deadline and not later."""
    clock = Time()
    endless = [Look[str]("Busy", hint_s=hint) for hint in hints] * 20_001
    with pytest.raises(DeadlineExceeded) as caught:
        wait_for(looks(endless), patience(clock, Heard(), seconds=seconds))
    assert clock.now - START_S == pytest.approx(seconds, abs=0.001)
    assert caught.value.limit_s == pytest.approx(seconds, abs=1e-5)
    assert caught.value.last_status == "Busy"


def test_a_wait_that_a_clock_can_measure_is_waited() -> None:
    """A millisecond is time for another look, and less is none."""
    assert wait_for(looks([BUSY, DONE]), patience(Time(), Heard(), seconds=0.001)) == DONE.value
    with pytest.raises(DeadlineExceeded):
        wait_for(looks([BUSY, DONE]), patience(Time(), Heard(), seconds=0.0009))


def test_the_limit_of_the_whole_call_is_told_of_what_is_waited_for() -> None:
    """Met in a look, it says how long the whole call took, and the last state."""
    met = DeadlineExceeded("the call is over", elapsed_s=29.0, limit_s=30.0)
    with pytest.raises(DeadlineExceeded) as caught:
        wait_for(looks([BUSY, met]), patience(Time(), Heard()))
    error = caught.value
    assert (error.resource, error.last_status, error.elapsed_s, error.limit_s) == (
        "thing",
        "Busy",
        29.0,
        30.0,
    )
    assert error.__cause__ is met


@pytest.mark.parametrize(
    "met", [DeadlineExceeded("another wait", last_status="Idle", limit_s=3.0), DeadlineExceeded("no limit")]
)
def test_another_deadline_passes_as_it_is(met: DeadlineExceeded) -> None:
    """That of a wait within the look, which has told what it waited for; and what has no limit to tell."""
    with pytest.raises(DeadlineExceeded) as caught:
        wait_for(looks([BUSY, met]), patience(Time(), Heard()))
    assert caught.value is met


def test_a_deadline_says_what_goes_on() -> None:
    """Resource, last state, costs and next call."""
    with pytest.raises(DeadlineExceeded) as caught:
        wait_for(looks([BUSY] * 99), patience(Time(), Heard(), seconds=60))
    error = caught.value
    assert (error.resource, error.costs, error.next_call) == ("thing", "thing goes on", "look again")
    assert str(error).startswith("Waited 60 s for thing, and the limit is 60 s: its last state was Busy")


@pytest.mark.parametrize("kind", [ServiceError, ServiceUnreachable, UnexpectedAnswer])
def test_four_failed_looks_in_a_row_are_borne(kind: type[PhiFinetuneError]) -> None:
    """A good look between them begins the count anew."""
    failures = [kind("down")] * 4
    assert wait_for(looks([*failures, BUSY, *failures, DONE]), patience(Time(), Heard())) == "value"


@pytest.mark.parametrize("before", [[], [BUSY]])
def test_five_are_too_many(before: list[Look[str]]) -> None:
    """The last one's error is raised."""
    failures = [ServiceError(f"down {number}") for number in range(6)]
    with pytest.raises(ServiceError, match="down 4"):
        wait_for(looks([*before, *failures, DONE]), patience(Time(), Heard()))


def test_what_was_never_seen_may_be_late() -> None:
    """Azure shows what it has accepted a little later; for so long and no longer."""
    late = [NotFound("not yet")] * 9
    assert wait_for(looks([*late, DONE]), patience(Time(), Heard())) == DONE.value
    with pytest.raises(NotFound):
        wait_for(looks([*late, NotFound("never"), DONE]), patience(Time(), Heard()))


def test_what_was_seen_and_is_absent_is_gone() -> None:
    """It does not come back by waiting."""
    clock = Time()
    with pytest.raises(NotFound):
        wait_for(looks([BUSY, NotFound("gone")]), patience(clock, Heard()))
    assert clock.slept == [2.0]


def test_a_deadline_before_any_good_look_says_so() -> None:
    """The state that nobody saw is not made up."""
    with pytest.raises(DeadlineExceeded, match="not looked at yet"):
        wait_for(looks([ServiceError("down")] * 4), patience(Time(), Heard(), seconds=1))


def test_an_interrupt_says_what_goes_on() -> None:
    """Ctrl-C during a pause passes through, with a note."""

    class Interrupted(Time):
        def sleep(self, seconds: float) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        wait_for(looks([BUSY]), patience(Interrupted(), Heard()))
    assert caught.value.__notes__ == ["thing goes on (Busy). Next: look again"]
