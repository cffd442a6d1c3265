"""The retry policies: what is sent again, after how long, and when a policy gives up."""

from __future__ import annotations

import math
import pickle
import random
from email.utils import formatdate

import attrs
import pytest
import tenacity
from hypothesis import given
from hypothesis import strategies as st

from phi_finetune.errors import InvalidParameter, ServiceError, ServiceUnreachable
from phi_finetune.protocols import RetryPolicy, Try, VerbClass
from phi_finetune.retries import (
    LONGEST_WAIT_S,
    NoRetries,
    PatientRetries,
    RetryBudget,
    StandardRetries,
    TenacityRetries,
    checked_wait,
    for_leaving,
    may_send_again,
    retry_after_s,
)

NOW = 1_760_000_000.0
VERB_CLASSES: tuple[VerbClass, ...] = ("read", "named-write", "score", "action")


class EverySecond:
    """A policy as a user would write it, with no import of this library."""

    def wait_s(self, failed: Try) -> float | None:
        return 1.0 if may_send_again(failed) and failed.attempt < 4 else None


POLICIES: dict[str, RetryPolicy] = {
    "none": NoRetries(),
    "standard": StandardRetries(),
    "patient": PatientRetries(),
    "aggressive": StandardRetries(attempts=50, budget_s=600, initial_s=0, cap_s=0, jitter_s=0),
    "tenacity": TenacityRetries(tenacity.stop_after_attempt(3), tenacity.wait_random_exponential(max=20)),
    "tenacity-times": TenacityRetries(
        tenacity.stop_before_delay(60) | tenacity.stop_after_delay(50), tenacity.wait_none()
    ),
    "tenacity-sums": TenacityRetries(
        tenacity.stop_all(tenacity.stop_after_attempt(2), tenacity.stop_after_delay(5)),
        tenacity.wait_chain(tenacity.wait_fixed(1), tenacity.wait_fixed(2) + tenacity.wait_random(0, 1)),
    ),
    "user-written": EverySecond(),
}
every_policy = pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)


class LowDraw(random.Random):
    """A generator whose every draw is the lowest one."""

    def uniform(self, a: float, b: float) -> float:
        return a


class HighDraw(random.Random):
    """A generator whose every draw is the highest one."""

    def uniform(self, a: float, b: float) -> float:
        return b


def read(attempt: int = 1, elapsed_s: float = 0.0, retry_after_s: float | None = None) -> Try:
    """A read that was answered with 503."""
    return Try(attempt, elapsed_s, "read", status_code=503, retry_after_s=retry_after_s)


def waits(policy: RetryPolicy) -> list[float]:
    """The waits of one request that never succeeds, when sending takes no time."""
    given_waits: list[float] = []
    while (wait := policy.wait_s(read(len(given_waits) + 1, sum(given_waits)))) is not None:
        given_waits.append(wait)
    return given_waits


@pytest.mark.parametrize(("status_code", "score"), [(408, False), (500, True), (502, True), (504, False)])
def test_an_answer_that_may_follow_work_done_is_no_reason_to_repeat_an_action(
    status_code: int, score: bool
) -> None:
    """Reads and named writes are sent again after all of them; a question after those that were quick to fail."""
    verdicts = {verb: may_send_again(Try(1, 0.0, verb, status_code)) for verb in VERB_CLASSES}
    assert verdicts == {"read": True, "named-write": True, "score": score, "action": False}


@pytest.mark.parametrize("status_code", [401, 429, 503])
@pytest.mark.parametrize("verb", VERB_CLASSES)
def test_a_request_that_was_not_taken_up_is_sent_again(verb: VerbClass, status_code: int) -> None:
    """Every class of verb is; 401 comes to a policy only of a new token that has expired, says Azure."""
    assert may_send_again(Try(1, 0.0, verb, status_code))


@pytest.mark.parametrize("verb", VERB_CLASSES)
@given(status_code=st.integers(100, 599).filter(lambda code: code not in {401, 408, 429, 500, 502, 503, 504}))
def test_no_other_answer_is_retried(verb: VerbClass, status_code: int) -> None:
    """403, 404, 409, 501 and the rest are never sent again by a policy."""
    assert not may_send_again(Try(1, 0.0, verb, status_code))


def test_silence_after_sending_does_not_repeat_an_action() -> None:
    """Where no answer came, an action is sent again only if no connection was made."""
    assert may_send_again(Try(1, 0.0, "read", sent=True))
    assert may_send_again(Try(1, 0.0, "named-write", sent=True))
    assert may_send_again(Try(1, 0.0, "score", sent=True))
    assert not may_send_again(Try(1, 0.0, "action", sent=True))
    assert may_send_again(Try(1, 0.0, "action", sent=False))


@every_policy
@given(
    attempt=st.integers(1, 10_000),
    elapsed_s=st.floats(0, 1e7),
    verb=st.sampled_from(VERB_CLASSES),
    status_code=st.none() | st.integers(100, 599),
    asked_s=st.none() | st.floats(0, 1e308),
    sent=st.booleans(),
)
def test_every_policy_answers_with_a_wait_or_gives_up(
    policy: RetryPolicy,
    attempt: int,
    elapsed_s: float,
    verb: VerbClass,
    status_code: int | None,
    asked_s: float | None,
    sent: bool,
) -> None:
    """A policy's answer can be obeyed, and it never repeats what is not safe to repeat."""
    failed = Try(attempt, elapsed_s, verb, status_code, asked_s, sent)
    wait = checked_wait(policy.wait_s(failed))
    assert wait is None or may_send_again(failed)


@every_policy
def test_policies_can_be_pickled(policy: RetryPolicy) -> None:
    """A policy reaches another process and decides there as here."""
    twin: RetryPolicy = pickle.loads(pickle.dumps(policy))
    assert (twin.wait_s(read(2)) is None) == (policy.wait_s(read(2)) is None)


def test_no_retries_sends_once() -> None:
    """NoRetries gives up after the first send, whatever the failure; one is like another."""
    assert NoRetries().wait_s(read()) is None
    assert NoRetries() == NoRetries()


@pytest.mark.parametrize(
    ("policy", "defaults"),
    [
        (StandardRetries(), (5, 120.0, 0.8, 30.0, 4.0, 120.0, None)),
        (PatientRetries(), (30, 1800.0, 0.8, 60.0, 10.0, 600.0, None)),
    ],
)
def test_the_defaults_are_those_of_the_documentation(
    policy: StandardRetries, defaults: tuple[float | None, ...]
) -> None:
    """Sends, budget, first wait, cap, jitter, the longest Retry-After, and the generator."""
    told = attrs.asdict(policy)
    names = ("attempts", "budget_s", "initial_s", "cap_s", "jitter_s", "max_retry_after_s", "rng")
    assert tuple(told.pop(name) for name in names) == defaults
    assert told == {}


def test_settings_are_given_by_name() -> None:
    """A number says nothing of what it sets; only what to stop and how to wait go without."""
    standard, patient, tenacious, budget = StandardRetries, PatientRetries, TenacityRetries, RetryBudget
    never, none = tenacity.stop_never, tenacity.wait_none()
    with pytest.raises(TypeError):
        standard(5)  # type: ignore[misc]
    with pytest.raises(TypeError):
        patient(5)  # type: ignore[misc]
    with pytest.raises(TypeError):
        tenacious(never, none, 60.0)  # type: ignore[misc]
    with pytest.raises(TypeError):
        budget(5, 5)  # type: ignore[misc]
    with pytest.raises(TypeError):
        budget().spend(True)  # type: ignore[misc]


def test_the_generator_is_no_part_of_what_a_policy_is() -> None:
    """Two policies with the same numbers are equal, and the generator's state is not told."""
    assert StandardRetries(rng=random.Random(1)) == StandardRetries(rng=random.Random(2))
    assert "rng" not in repr(StandardRetries(rng=random.Random(1)))


def test_leaving_is_patient() -> None:
    """A patient policy is kept as it is; another gives at most its generator."""
    patient, rng = PatientRetries(attempts=7), random.Random(1)
    assert for_leaving(patient) is patient
    for policy, generator in ((StandardRetries(rng=rng), rng), (NoRetries(), None)):
        leaving = for_leaving(policy)
        assert leaving == PatientRetries()
        assert isinstance(leaving, PatientRetries)
        assert leaving.rng is generator


def test_a_budget_begins_full_and_is_spent() -> None:
    """500: five for each further send, ten after a timeout, and one comes with each success."""
    budget = RetryBudget()
    assert (budget.left, budget.capacity, repr(budget)) == (500, 500, "RetryBudget(500 of 500 left)")
    assert (budget.spend(timed_out=False), budget.spend(timed_out=True), budget.left) == (5, 10, 485)
    budget.give_back(10)
    assert budget.left == 495
    budget.give_back(0)
    assert budget.left == 496
    budget.give_back(10)
    assert budget.left == 500


def test_a_budget_is_spent_to_its_last() -> None:
    """What costs more than is left is not taken, and nothing is."""
    budget = RetryBudget(6, retry_cost=3, timeout_cost=4, refund=2)
    assert [budget.spend(timed_out=late) for late in (False, True, False, False)] == [3, None, 3, None]
    assert budget.left == 0
    budget.give_back(0)
    assert budget.left == 2


@pytest.mark.parametrize("name", ["capacity", "retry_cost", "timeout_cost", "refund"])
@pytest.mark.parametrize("value", [-1, 0.5, "5", None])
def test_a_budget_of_other_than_whole_numbers_is_refused(name: str, value: object) -> None:
    """By name; 0 is allowed."""
    with pytest.raises(InvalidParameter, match="whole number, 0 or more") as caught:
        RetryBudget(**{name: value})  # type: ignore[arg-type]
    assert (caught.value.name, caught.value.value) == (name, value)
    RetryBudget(**{name: 0})


def test_attempts_may_be_from_one_to_a_thousand() -> None:
    """Both ends included."""
    assert [StandardRetries(attempts=number).attempts for number in (1, 1000)] == [1, 1000]


@pytest.mark.parametrize(
    ("rng", "expected"),
    [(LowDraw(), [0.8, 1.6, 3.2, 6.4]), (HighDraw(), [4.8, 5.6, 7.2, 10.4])],
    ids=["lowest", "highest"],
)
def test_standard_waits_are_those_of_the_docstring(rng: random.Random, expected: list[float]) -> None:
    """The defaults wait 0.8 to 4.8, 1.6 to 5.6, 3.2 to 7.2, 6.4 to 10.4 s, 28 s at most in sum."""
    assert waits(StandardRetries(rng=rng)) == pytest.approx(expected)
    assert sum(expected) <= 28.0


def test_patient_waits_are_those_of_the_docstring() -> None:
    """PatientRetries grows from 0.8 .. 10.8 s to 60 .. 70 s, and stays within half an hour."""
    low, high = waits(PatientRetries(rng=LowDraw())), waits(PatientRetries(rng=HighDraw()))
    assert (low[0], high[0], max(low), max(high)) == pytest.approx((0.8, 10.8, 60, 70))
    assert len(low) == 29
    assert sum(high) < 1800


def test_waits_stop_growing_at_the_cap() -> None:
    """Beyond cap_s the part without jitter stays the same, however many sends there were."""
    policy = StandardRetries(attempts=1000, budget_s=3600, cap_s=30, rng=LowDraw())
    assert [policy.wait_s(read(n)) for n in (6, 7, 900)] == [pytest.approx(25.6), 30, 30]


def test_equal_seeds_give_equal_waits() -> None:
    """The jitter comes from the generator given, so a seed repeats it."""
    assert waits(StandardRetries(rng=random.Random(7))) == waits(StandardRetries(rng=random.Random(7)))


def test_without_a_generator_the_waits_differ() -> None:
    """Two clients with the default policy don't wait equally long."""
    assert waits(StandardRetries()) != waits(StandardRetries())


def test_the_jitter_is_even() -> None:
    """The waits of 1,000 clients fit an even spread (Kolmogorov-Smirnov, 1 % level)."""
    draws = sorted((first_wait(seed) - 0.8) / 4.0 for seed in range(1000))
    distance = max(abs((i + 1) / len(draws) - draw) for i, draw in enumerate(draws))
    assert distance < 1.63 / math.sqrt(len(draws))


@pytest.mark.parametrize("asked_s", [None, 7.0], ids=["own wait", "Retry-After"])
def test_clients_that_fail_together_do_not_come_back_together(asked_s: float | None) -> None:
    """Of 1,000 clients no more than 5 % come back within any 100 ms."""
    moments = sorted(first_wait(seed, asked_s) for seed in range(1000))
    crowds = (sum(moment <= other < moment + 0.1 for other in moments) for moment in moments)
    assert max(crowds) <= 50


def first_wait(seed: int, asked_s: float | None = None) -> float:
    """How long a client whose generator has this seed waits after its first send."""
    wait = StandardRetries(rng=random.Random(seed)).wait_s(read(retry_after_s=asked_s))
    assert wait is not None
    return wait


def test_the_budget_ends_a_request_before_its_attempts_do() -> None:
    """A wait that would end after the budget is not begun."""
    policy = StandardRetries(budget_s=120, rng=LowDraw())
    assert policy.wait_s(read(4, elapsed_s=113.5)) == pytest.approx(6.4)
    assert policy.wait_s(read(4, elapsed_s=113.7)) is None


def test_retry_after_is_never_undercut() -> None:
    """The wait is what the answer asked, and the jitter on top of it."""
    assert StandardRetries(rng=LowDraw()).wait_s(read(retry_after_s=20)) == 20
    assert StandardRetries(rng=HighDraw()).wait_s(read(retry_after_s=20)) == 24


@pytest.mark.parametrize("asked_s", [60.1, 86_400.0, 1e308])
def test_retry_after_beyond_the_limit_gives_up(asked_s: float) -> None:
    """A Retry-After above max_retry_after_s is not waited for, even with budget left."""
    policy = StandardRetries(budget_s=86_400, max_retry_after_s=60, rng=LowDraw())
    assert policy.wait_s(read(retry_after_s=60)) == 60
    assert policy.wait_s(read(retry_after_s=asked_s)) is None


def test_retry_after_beyond_the_budget_gives_up() -> None:
    """A Retry-After that ends after the budget is not waited for."""
    assert StandardRetries(rng=LowDraw()).wait_s(read(elapsed_s=100, retry_after_s=19)) == 19
    assert StandardRetries(rng=LowDraw()).wait_s(read(elapsed_s=100, retry_after_s=20)) is None


@pytest.mark.parametrize("value", [0, 1001, 2.5, math.nan, "3", None])
def test_attempts_outside_the_range_are_refused(value: object) -> None:
    """The error quotes the value and the range."""
    with pytest.raises(InvalidParameter, match="whole number from 1 to 1000") as caught:
        StandardRetries(attempts=value)  # type: ignore[arg-type]
    assert (caught.value.name, repr(value) in caught.value.what) == ("attempts", True)


@pytest.mark.parametrize("field", ["budget_s", "initial_s", "cap_s", "jitter_s", "max_retry_after_s"])
@pytest.mark.parametrize("value", [-0.1, 86_401, math.nan, math.inf, "3", None])
def test_seconds_outside_the_range_are_refused(field: str, value: object) -> None:
    """Negative, endless and unreadable times are refused when the policy is built, by name."""
    with pytest.raises(InvalidParameter, match="0 to 86400 seconds") as caught:
        PatientRetries(**{field: value})  # type: ignore[arg-type]
    assert caught.value.name == field


def test_tenacity_stop_sees_attempts_and_elapsed_time() -> None:
    """stop_after_attempt and stop_after_delay decide on the request's own count and time."""
    policy = TenacityRetries(
        tenacity.stop_after_attempt(3) | tenacity.stop_after_delay(10), tenacity.wait_fixed(2)
    )
    assert policy.wait_s(read(2, elapsed_s=9.9)) == 2
    assert policy.wait_s(read(2, elapsed_s=10)) is None
    assert policy.wait_s(read(3)) is None


def test_tenacity_stop_sees_the_wait_to_come() -> None:
    """stop_before_delay takes account of the wait, Retry-After included."""
    policy = TenacityRetries(tenacity.stop_before_delay(10), tenacity.wait_fixed(2))
    assert policy.wait_s(read(elapsed_s=7.9)) == 2
    assert policy.wait_s(read(elapsed_s=8.1)) is None
    assert policy.wait_s(read(elapsed_s=1, retry_after_s=9.5)) is None


def test_tenacity_wait_sees_the_attempt() -> None:
    """A chain and a sum of waits give each attempt its own."""
    wait = tenacity.wait_chain(*(tenacity.wait_fixed(s) for s in (1, 5))) + tenacity.wait_incrementing(0, 10)
    policy = TenacityRetries(tenacity.stop_never, wait)
    assert [policy.wait_s(read(n)) for n in (1, 2, 3)] == [1, 15, 25]


def test_tenacity_wait_sees_the_failure() -> None:
    """A wait finds an error as the outcome: it has the status, or says that no answer came."""

    def by_status(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        assert isinstance(error, ServiceError | ServiceUnreachable)
        return 9 if isinstance(error, ServiceUnreachable) else (error.status_code or 0) / 100

    policy = TenacityRetries(tenacity.stop_never, by_status)
    assert policy.wait_s(Try(1, 0.0, "read", 429)) == 4.29
    assert policy.wait_s(Try(1, 0.0, "read")) == 9


def test_tenacity_retry_sees_the_failure() -> None:
    """What it does not take is not sent again; Retry-After is obeyed up to two minutes."""
    slow_down = tenacity.retry_if_exception(lambda error: getattr(error, "status_code", None) == 503)
    policy = TenacityRetries(tenacity.stop_never, tenacity.wait_fixed(2), retry=slow_down)
    assert policy.wait_s(Try(1, 0.0, "read", 503)) == 2
    assert policy.wait_s(Try(1, 0.0, "read", 500)) is None
    assert policy.max_retry_after_s == 120


def test_tenacity_waits_no_less_than_retry_after() -> None:
    """Retry-After lengthens a wait and never shortens it; beyond the limit the policy gives up."""
    policy = TenacityRetries(tenacity.stop_never, tenacity.wait_fixed(5), max_retry_after_s=30)
    assert [policy.wait_s(read(retry_after_s=s)) for s in (1, 30, 31)] == [5, 30, None]


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_wait_that_cannot_be_obeyed_is_an_error(value: float) -> None:
    """Whatever number a wait gives, it is either obeyed as it is or refused."""
    policy = TenacityRetries(tenacity.stop_never, lambda state: value)
    if 0 <= value <= LONGEST_WAIT_S:
        assert policy.wait_s(read()) == value
    else:
        with pytest.raises(InvalidParameter, match="asked to wait"):
            policy.wait_s(read())


def test_none_is_a_wait_that_can_be_obeyed() -> None:
    """A policy's None, to give up, passes the check."""
    assert checked_wait(None) is None


def test_a_wait_that_is_no_number_is_an_error() -> None:
    """A policy that answers with a text is told so, by name."""
    with pytest.raises(InvalidParameter, match="'5'"):
        checked_wait("5")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"RETRY-AFTER": " 0.5 "}, 0.5),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "-0.5"}, None),
        ({"Retry-After": "abc"}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "NaN"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "1e308"}, 1e308),
        ({"Retry-After": "1e400"}, None),
        ({"Retry-After": formatdate(NOW + 90, usegmt=True)}, 90.0),
        ({"Retry-After": formatdate(NOW - 90, usegmt=True)}, 0.0),
        ({"Retry-After": formatdate(NOW + 90)}, 90.0),
        ({"Retry-After": "Thu, 09 Oct 2025 10:54:50 +0200"}, 90.0),
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, 253_402_300_799.0 - NOW),
        ({"Retry-After": "Fri, 99 Dec 99999999999999999999 23:59:59 GMT"}, None),
        ({"Retry-After": formatdate(NOW + 90, usegmt=True), "Date": formatdate(NOW + 30, usegmt=True)}, 60.0),
        ({"Retry-After": formatdate(NOW + 90, usegmt=True), "Date": "soon"}, 90.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"x-ms-retry-after-ms": "1"}, 0.001),
        ({"Retry-After": "2", "retry-after-ms": "1500"}, 1.5),
        ({"Retry-After": "2", "retry-after-ms": "soon"}, 2.0),
        ({"retry-after-ms": "abc", "x-ms-retry-after-ms": "250"}, 0.25),
    ],
    ids=str,
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, milliseconds and dates are read; what means nothing counts as absent."""
    assert retry_after_s(headers, NOW) == pytest.approx(seconds)


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ \d+:\d+:\d+ (GMT|[+-]\d{4})"))
def test_no_retry_after_breaks_the_reader(text: str) -> None:
    """Any text at all gives a time that can be compared, or nothing."""
    seconds = retry_after_s({"Retry-After": text, "retry-after-ms": text}, NOW)
    assert seconds is None or (math.isfinite(seconds) and seconds >= 0)
