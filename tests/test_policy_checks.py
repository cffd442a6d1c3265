"""The suite that a user's own retry policy can be put through, and what the wire makes of policies."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import tenacity
from tuning import finetune, sent

from phi_finetune.errors import PhiFinetuneError, ServiceError
from phi_finetune.protocols import RetryPolicy, Try
from phi_finetune.retries import (
    NoRetries,
    PatientRetries,
    RetryBudget,
    StandardRetries,
    TenacityRetries,
    may_send_again,
)
from phi_finetune.testing import FakeAzure, check_retry_policy
from phi_finetune.testing.faults import Answer, AnswerLost

JOBS = "GET */workspaces/phi-lab/jobs"


class Own:
    """A policy as a user would write it, of one function."""

    def __init__(self, wait_s: Callable[[Try], Any]) -> None:
        self._wait_s = wait_s

    def wait_s(self, failed: Try) -> float | None:
        wait: float | None = self._wait_s(failed)
        return wait


def careful(failed: Try) -> float | None:
    """Three sends of what is safe."""
    if not may_send_again(failed) or failed.attempt >= 3 or (failed.retry_after_s or 0) > 60:
        return None
    return max(1.0, failed.retry_after_s or 0.0)


GOOD: dict[str, RetryPolicy] = {
    "none": NoRetries(),
    "standard": StandardRetries(),
    "patient": PatientRetries(),
    "aggressive": StandardRetries(attempts=50, budget_s=600, initial_s=0, cap_s=0, jitter_s=0),
    "own": Own(careful),
    "tenacity": TenacityRetries(tenacity.stop_after_attempt(3), tenacity.wait_random_exponential(max=20)),
    "tenacity-time": TenacityRetries(tenacity.stop_after_delay(50), tenacity.wait_fixed(2)),
    "tenacity-some": TenacityRetries(
        tenacity.stop_after_attempt(4),
        tenacity.wait_fixed(1),
        retry=tenacity.retry_if_exception(lambda error: getattr(error, "status_code", None) == 503),
    ),
}


class Counting:
    """A policy that counts the failures of all requests together."""

    def __init__(self) -> None:
        self.asked = 0

    def wait_s(self, failed: Try) -> float | None:
        self.asked += 1
        return careful(failed) if self.asked % 50 else None


def changed(**values: Any) -> Own:
    """The careful policy, but for failures of one kind."""

    def wait_s(failed: Try) -> Any:
        other = all(getattr(failed, name) == value for name, value in values.items() if name != "then")
        return values["then"] if other else careful(failed)

    return Own(wait_s)


def raising(failed: Try) -> float | None:
    """A policy with a fault of its own."""
    return 1 / (failed.attempt - 5) if failed.attempt == 5 else careful(failed)


BAD: dict[str, tuple[RetryPolicy, str]] = {
    "repeats an action": (changed(verb_class="action", status_code=None, then=2.0), "not safe to send again"),
    "repeats a refusal": (changed(status_code=403, attempt=1, then=2.0), "not safe to send again"),
    "repeats a slow answer": (changed(verb_class="score", status_code=408, then=9e4), "a wait that is none"),
    "undercuts": (
        changed(retry_after_s=7.0, status_code=429, attempt=1, then=6.9),
        "less than the answer asks",
    ),
    "never ends": (
        changed(verb_class="score", status_code=503, retry_after_s=None, then=1.0),
        "not given up",
    ),
    "never ends at once": (
        changed(status_code=503, retry_after_s=None, then=0),
        "not given up after 10000 sends",
    ),
    "nan": (changed(attempt=100, status_code=503, then=math.nan), "a wait that is none"),
    "negative": (changed(attempt=1, status_code=502, then=-1.0), "a wait that is none"),
    "endless": (changed(attempt=2, status_code=500, then=math.inf), "a wait that is none"),
    "no number": (changed(attempt=1, status_code=503, then="1"), "a wait that is none"),
    "raises": (Own(raising), "raises ZeroDivisionError"),
    "counts": (Counting(), "once waits and once gives up"),
    "tenacity without an end": (TenacityRetries(tenacity.stop_never, tenacity.wait_fixed(1)), "not given up"),
}


@pytest.mark.parametrize("policy", GOOD.values(), ids=GOOD)
def test_a_good_policy_passes(policy: RetryPolicy) -> None:
    """This library's, any of tenacity's, and a user's own."""
    check_retry_policy(policy)


@pytest.mark.parametrize(("policy", "told"), BAD.values(), ids=BAD)
def test_a_bad_policy_is_told_why(policy: RetryPolicy, told: str) -> None:
    """The message has the policy's name, the promise, and the failure it was asked about."""
    with pytest.raises(AssertionError, match=told) as caught:
        check_retry_policy(policy)
    assert str(caught.value).startswith(type(policy).__name__)
    assert "Try(attempt=" in str(caught.value)


def test_tenacitys_retry_narrows_what_is_sent_again() -> None:
    """It sees the failure as an exception; what is not safe stays so, whatever it says."""
    always = tenacity.retry_if_exception(lambda error: True)
    of_status = tenacity.retry_if_exception(lambda error: getattr(error, "status_code", None) == 503)
    for retry, statuses in ((always, [429, 500, 503]), (of_status, [503])):
        policy = TenacityRetries(tenacity.stop_never, tenacity.wait_fixed(1), retry=retry)
        assert [code for code in (404, 429, 500, 503) if policy.wait_s(Try(1, 0.0, "read", code))] == statuses
        assert policy.wait_s(Try(1, 0.0, "action", 500)) is None


# On the wire


@attrs.define
class Recorded:
    """A policy, and how often it let a request be sent again."""

    policy: RetryPolicy
    let: int = 0

    def wait_s(self, failed: Try) -> float | None:
        wait_s = self.policy.wait_s(failed)
        self.let += wait_s is not None
        return wait_s


@pytest.mark.parametrize("policy", GOOD.values(), ids=GOOD)
def test_what_a_policy_says_is_what_is_sent(fake_azure: FakeAzure, policy: RetryPolicy) -> None:
    """One send more for each wait it gives, and an action whose answer was lost is sent once."""
    recorded = Recorded(policy)
    workspace = fake_azure.workspace(retries=recorded, retry_budget=RetryBudget(10_000))
    job = finetune(fake_azure.workspace()).submit()
    fake_azure.faults.at_rate(1.0, seed=1, kinds=[Answer(JOBS, 503)])
    with pytest.raises(ServiceError):
        workspace.jobs()
    fake_azure.faults.stop()
    assert len(sent(fake_azure, "GET", "*/jobs")) == 1 + recorded.let
    fake_azure.faults.next(AnswerLost("POST */cancel"))
    assert workspace.attach(job).cancel().status == "Canceled"
    assert len(sent(fake_azure, "POST", "*/cancel")) == 1


@pytest.mark.parametrize("name", ["nan", "negative", "endless", "no number", "raises"])
def test_a_bad_policy_neither_hangs_nor_sends_twice(fake_azure: FakeAzure, name: str) -> None:
    """The call ends with a typed error, after as many sends as the policy gave good waits for."""
    bad = {"nan": 100, "negative": 1, "endless": 2, "no number": 1, "raises": 5}[name]
    status = {"negative": 502, "endless": 500}.get(name, 503)
    workspace = fake_azure.workspace(
        retries=Own(lambda failed: BAD[name][0].wait_s(attrs.evolve(failed, attempt=bad)))
    )
    fake_azure.faults.next(Answer(JOBS, status))
    with pytest.raises(PhiFinetuneError, match="The retry policy"):
        workspace.jobs()
    assert len(fake_azure.journal) == 1
