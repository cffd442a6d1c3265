"""with_options: how long a call may take in all, and when it is sent again."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pipelines
import pytest
from azure.core.credentials import AccessToken

import phi_finetune as pf
from phi_finetune.credentials import ServicePrincipal
from phi_finetune.errors import (
    ConfigurationError,
    DeadlineExceeded,
    InvalidParameter,
    PhiFinetuneError,
    ServiceError,
)
from phi_finetune.retries import NoRetries, PatientRetries
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import Answer, Silence, Unreachable

SIZE = "Standard_NC24ads_A100_v4"
MOST_S = 2.0
"""What a call may take beyond its limit, in seconds on the fake's clock."""


CALLS: dict[str, Callable[[pf.Workspace, pf.FinetuneJob, timedelta], object]] = {
    "look up": lambda ws, job, limit: ws.with_options(timeout=limit).foundation_model("Phi-4-mini-instruct"),
    "jobs": lambda ws, job, limit: ws.with_options(timeout=limit).jobs(),
    "wait": lambda ws, job, limit: job.wait(timeout=limit),
    "wait with options": lambda ws, job, limit: job.with_options(timeout=limit).wait(),
    "cancel": lambda ws, job, limit: job.cancel(timeout=limit),
    "events": lambda ws, job, limit: list(job.events(timeout=limit)),
    "metrics": lambda ws, job, limit: job.with_options(timeout=limit).metrics(),
    "register": lambda ws, job, limit: job.with_options(timeout=limit).register(),
}
TROUBLES = {
    "a busy service": Answer("* *", 503),
    "a long wait asked for": Answer("* *", 429, headers={"Retry-After": "86400"}),
    "a wait asked for": Answer("* *", 429, headers={"Retry-After": "40"}),
    "no answer": Silence("* *"),
    "no connection": Silence("* *", after="connect"),
    "nobody": Unreachable("* *"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("limit_s", [1, 60, 3600])
def test_no_call_outlasts_its_limit(call: str, trouble: str, limit_s: int) -> None:
    """Whatever happens to every request, the call is over in time, and says what it was about."""
    with FakeAzure(progression="realistic") as azure:
        pipelines.start(azure.cloud)
        ws = azure.workspace(retries=PatientRetries())
        job = ws.job("tune")
        azure.faults.at_rate(1.0, kinds=[TROUBLES[trouble]])
        started = azure.clock.monotonic()
        with pytest.raises(PhiFinetuneError) as caught:
            CALLS[call](ws, job, timedelta(seconds=limit_s))
        assert azure.clock.monotonic() - started <= limit_s + MOST_S
        assert caught.value.resource


@pytest.fixture
def slow() -> Iterator[FakeAzure]:
    """A fake with a job, in which time passes by pauses only."""
    with FakeAzure(progression="realistic") as azure:
        pipelines.start(azure.cloud)
        yield azure


def test_the_error_of_a_wait_names_what_was_waited_for(slow: FakeAzure) -> None:
    """Wherever the limit was met, in a look or in a pause."""
    job = slow.workspace().job("tune").with_options(timeout=timedelta(seconds=90))
    with pytest.raises(DeadlineExceeded, match="job tune") as caught:
        job.wait()
    assert (caught.value.resource, caught.value.last_status) == ("job tune", "Running")
    assert caught.value.limit_s == 90
    assert slow.jobs["tune"].status == "Running"


def test_the_earlier_limit_counts(slow: FakeAzure) -> None:
    """That of the options, or that of the call."""
    job = slow.workspace().job("tune")
    for options_s, wait_s in ((30, 3600), (3600, 30)):
        with pytest.raises(DeadlineExceeded) as caught:
            job.with_options(timeout=timedelta(seconds=options_s)).wait(timeout=timedelta(seconds=wait_s))
        assert caught.value.limit_s == 30


def test_each_call_has_the_whole_time(slow: FakeAzure) -> None:
    """A limit is for a call, and not for the object; what a call gives has the same."""
    ws = slow.workspace().with_options(timeout=timedelta(seconds=60))
    job = ws.job("tune")
    slow.clock.advance(timedelta(hours=1))
    assert job.refresh().refresh().status == "Completed"
    slow.faults.at_rate(1.0, kinds=[Answer("* *", 503)])
    started = slow.clock.monotonic()
    with pytest.raises(PhiFinetuneError):
        job.with_options(retries=PatientRetries()).refresh()
    assert slow.clock.monotonic() - started <= 60 + MOST_S


def test_without_options_a_call_has_no_limit(slow: FakeAzure) -> None:
    """The policy alone ends it, and objects that were given options leave their origin as it was."""
    job = slow.workspace(retries=PatientRetries()).job("tune")
    job.with_options(timeout=timedelta(seconds=1))
    slow.faults.next(Answer("GET */jobs/tune", 429, headers={"Retry-After": "45"}))
    started = slow.clock.monotonic()
    assert job.refresh().name == "tune"
    assert slow.clock.monotonic() - started >= 45


def test_a_policy_for_a_call(slow: FakeAzure) -> None:
    """It decides instead of the workspace's, for this object and what it gives."""
    job = slow.workspace().job("tune")
    before = len(slow.journal)
    slow.faults.next(Answer("GET */jobs/tune", 503))
    with pytest.raises(ServiceError):
        job.with_options(retries=NoRetries()).refresh()
    assert len(slow.journal) - before == 1
    slow.faults.next(Answer("GET */jobs/tune", 503))
    assert job.refresh().name == "tune"


class LongLived:
    """A credential whose tokens are good for an hour by the machine's clock, and that counts what it gives."""

    def __init__(self, azure: FakeAzure) -> None:
        self._azure = azure
        self.given = 0

    def get_token(self, *scopes: str, **options: object) -> AccessToken:
        self.given += 1
        token, _ = self._azure.cloud.identity.issue(scopes[0].removesuffix("/.default"))
        return AccessToken(token, int(time.time()) + 3600)


def test_a_token_is_fetched_once_for_all(slow: FakeAzure) -> None:
    """Options share what the workspace knows: its token, its connections, what it is."""
    credential = LongLived(slow)
    ws = slow.workspace(credential=credential)
    for seconds in range(1, 5):
        ws.with_options(timeout=timedelta(seconds=seconds)).job("tune")
    assert credential.given == 1


def test_options_of_the_first_call_do_not_stay(slow: FakeAzure) -> None:
    """The workspace signs in later as its own policy says, whoever asked first."""
    principal = ServicePrincipal(
        tenant_id=slow.tenant_id, client_id=slow.client_id, client_secret=slow.client_secret
    )
    ws = slow.workspace(credential=principal)
    ws.with_options(retries=NoRetries()).job("tune")
    slow.faults.next(Answer("POST */oauth2/v2.0/token", 503))
    assert ws.job("tune").name == "tune"


def test_an_object_with_options_is_the_same_object(slow: FakeAzure) -> None:
    """Options are no part of what an object is; they stay behind when it is pickled."""
    job = slow.workspace().job("tune")
    other = job.with_options(timeout=timedelta(seconds=1), retries=NoRetries())
    assert (other, hash(other), repr(other)) == (job, hash(job), repr(job))
    assert pickle.loads(pickle.dumps(other)) == job


@pytest.mark.parametrize("seconds", [0, -1])
def test_a_limit_leaves_time(slow: FakeAzure, seconds: int) -> None:
    """None or less is a mistake."""
    limit = timedelta(seconds=seconds)
    with pytest.raises(InvalidParameter, match="timeout"):
        slow.workspace().with_options(timeout=limit)
    with pytest.raises(InvalidParameter, match="timeout"):
        slow.workspace().job("tune").wait(timeout=limit)


def test_an_object_without_a_workspace_has_no_calls() -> None:
    """There is nothing to give options to."""
    compute = pf.GpuCompute.serverless(SIZE)
    with pytest.raises(ConfigurationError, match="not attached"):
        compute.with_options(timeout=timedelta(seconds=1))
