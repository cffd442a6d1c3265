"""Every call ends within its limit, which counts for all that it does: requests, retries, operations, pauses (R5)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial

import pipelines
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tuning import SIZE, data, trained
from verbs import VERBS

import phi_finetune as pf
from phi_finetune.emulator.core.http import Request
from phi_finetune.errors import DeadlineExceeded, PhiFinetuneError
from phi_finetune.events import Event, RequestSent
from phi_finetune.retries import NoRetries, PatientRetries
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import Answer, EndlessOperation, Fault, OperationFails, RequestFault, Silence

MOST_S = 1.0
"""What a call may take beyond its limit, in seconds on the fake's clock."""
HOUR = timedelta(hours=1)


class Watch:
    """A listener that knows when the last request began before something was undone."""

    def __init__(self, azure: FakeAzure) -> None:
        self._now = azure.clock.monotonic
        self.undone_at: float | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, RequestSent) and event.resource.startswith("DELETE ") and self.undone_at is None:
            self.undone_at = self._now() - event.took_s


Timed = Callable[[timedelta], object]
Made = Callable[[FakeAzure, pf.Workspace], Timed]


def model(call: Callable[[pf.RegisteredModel, timedelta], object], *, there: bool = False) -> Made:
    """A call on a registered model, of which an endpoint may be there."""

    def made(azure: FakeAzure, ws: pf.Workspace) -> Timed:
        it = trained(azure, ws)
        if there:
            it.deploy("answers", instance_type=SIZE, lease=HOUR)
        return partial(call, it)

    return made


def endpoint(call: Callable[[pf.Endpoint, timedelta], object]) -> Made:
    """A call on an endpoint with a lease, whose one deployment takes no traffic."""

    def made(azure: FakeAzure, ws: pf.Workspace) -> Timed:
        it = trained(azure, ws).deploy("answers", instance_type=SIZE, lease=HOUR)
        return partial(call, it.shift_traffic({}))

    return made


def cluster(call: Callable[[pf.GpuCompute, timedelta], object], *, there: bool = True) -> Made:
    """A call on a cluster, which is there with a lease or yet to be made."""

    def made(azure: FakeAzure, ws: pf.Workspace) -> Timed:
        it = ws.gpu_compute("gpu", size=SIZE)
        return partial(call, it.ensure(lease=HOUR) if there else it)

    return made


def job(call: Callable[[pf.FinetuneJob, timedelta], object]) -> Made:
    """A call on a job that runs."""

    def made(azure: FakeAzure, ws: pf.Workspace) -> Timed:
        pipelines.start(azure.cloud, "tune")
        return partial(call, ws.job("tune"))

    return made


def deploy_more(azure: FakeAzure, ws: pf.Workspace) -> Timed:
    """Put a model behind an endpoint that is there."""
    it = trained(azure, ws)
    there = it.deploy("answers", instance_type=SIZE)
    return lambda limit: there.deploy(it, "green", instance_type=SIZE, timeout=limit)


TIMED: dict[str, Made] = {
    "RegisteredModel.deploy": model(lambda it, t: it.deploy("answers", instance_type=SIZE, timeout=t)),
    "RegisteredModel.deploy, once more": model(
        lambda it, t: it.deploy("answers", deployment="green", instance_type=SIZE, lease=2 * HOUR, timeout=t),
        there=True,
    ),
    "Endpoint.deploy": deploy_more,
    "Endpoint.shift_traffic": endpoint(lambda it, t: it.shift_traffic({"default": 100}, timeout=t)),
    "Endpoint.delete_deployment": endpoint(lambda it, t: it.delete_deployment("default", timeout=t)),
    "Endpoint.extend": endpoint(lambda it, t: it.extend(2 * HOUR, timeout=t)),
    "Endpoint.delete": endpoint(lambda it, t: it.delete(timeout=t)),
    "GpuCompute.ensure": cluster(lambda it, t: it.ensure(lease=HOUR, timeout=t), there=False),
    "GpuCompute.ensure, once more": cluster(lambda it, t: it.ensure(lease=2 * HOUR, timeout=t)),
    "GpuCompute.scale": cluster(lambda it, t: it.scale(max_nodes=2, timeout=t)),
    "GpuCompute.extend": cluster(lambda it, t: it.extend(2 * HOUR, timeout=t)),
    "GpuCompute.delete": cluster(lambda it, t: it.delete(timeout=t)),
    "FinetuneJob.wait": job(lambda it, t: it.wait(timeout=t)),
    "FinetuneJob.events": job(lambda it, t: list(it.events(timeout=t))),
    "FinetuneJob.cancel": job(lambda it, t: it.cancel(timeout=t)),
    "Workspace.register_data": lambda _azure, ws: lambda limit: ws.register_data(data(), timeout=limit),
}
"""Every call that takes a ``timeout``."""
UNDOING = ("RegisteredModel.deploy", "Endpoint.deploy")
"""Calls that delete what they made where they fail; that has a limit of its own, of an hour."""


class EveryOther(Answer):
    """Every other request is answered so, and its second send is carried out."""

    def meets(self, request: Request) -> bool:
        seen = self.__dict__.setdefault("seen", [])
        seen.append(request)
        return len(seen) % 2 == 1 and super().meets(request)


def asks_to_wait(seconds: int) -> dict[str, str]:
    """The headers that do."""
    return {"Retry-After": str(seconds)}


TROUBLES: dict[str, Callable[[], RequestFault | None]] = {
    "no answer": lambda: Silence("* *"),
    "a busy service": lambda: Answer("* *", 503),
    "a day's wait asked for": lambda: Answer("* *", 429, headers=asks_to_wait(86400)),
    "a minute's wait asked for": lambda: Answer("* *", 429, headers=asks_to_wait(60)),
    "each request asked for twice": lambda: EveryOther("* *", 429, headers=asks_to_wait(25)),
    "no answer to looks": lambda: Silence("GET *OperationsStatus*"),
    "no operation ends": lambda: None,
}


def begin(azure: FakeAzure, trouble: str) -> None:
    """Let things go wrong from now on."""
    fault = TROUBLES[trouble]()
    if fault is None:
        azure.faults.next(EndlessOperation(), times=3)
    else:
        azure.faults.at_rate(1.0, kinds=[fault])


def end(azure: FakeAzure) -> None:
    """Let nothing go wrong any more."""
    azure.faults.stop()
    while azure.faults.take(Fault) is not None:
        pass


def took(
    azure: FakeAzure, call: str, trouble: str, limit: timedelta
) -> tuple[float, PhiFinetuneError | None]:
    """How long a call took until it was over, or began to undo what it had done, and the error that it ended with."""
    watch = Watch(azure)
    ready = TIMED[call](azure, azure.workspace(retries=PatientRetries(), on_event=watch))
    begin(azure, trouble)
    started, watch.undone_at, error = azure.clock.monotonic(), None, None
    try:
        ready(limit)
    except PhiFinetuneError as raised:
        error = raised
    ended = watch.undone_at if call.startswith(UNDOING) else None
    end(azure)
    return (azure.clock.monotonic() if ended is None else ended) - started, error


@pytest.mark.parametrize("call", TIMED)
@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("limit_s", [1, 60, 1800])
def test_no_call_outlasts_its_timeout(call: str, trouble: str, limit_s: int) -> None:
    """Whatever goes wrong, and however many steps it has; an error names what it was about, and what comes next."""
    with FakeAzure(progression="realistic") as azure:
        elapsed_s, error = took(azure, call, trouble, timedelta(seconds=limit_s))
    assert elapsed_s <= limit_s + MOST_S
    if error is None:
        return
    assert error.resource
    assert error.next_call
    if isinstance(error, DeadlineExceeded):
        assert error.limit_s == limit_s
        assert f"limit is {limit_s} s" in str(error)


@given(
    call=st.sampled_from(sorted(TIMED)),
    trouble=st.sampled_from(sorted(TROUBLES)),
    limit=st.timedeltas(timedelta(seconds=1), timedelta(days=1)),
)
@example("RegisteredModel.deploy, once more", "each request asked for twice", timedelta(seconds=182))
@settings(max_examples=40)
def test_no_timeout_is_outlasted(call: str, trouble: str, limit: timedelta) -> None:
    """From a second to a day."""
    with FakeAzure(progression="realistic") as azure:
        elapsed_s, _ = took(azure, call, trouble, limit)
    assert elapsed_s <= limit.total_seconds() + MOST_S


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("trouble", ["no answer", "each request asked for twice"])
def test_no_call_outlasts_its_options(verb: str, trouble: str) -> None:
    """A call without a ``timeout`` of its own is limited in the same way, however many requests it takes."""
    limit_s = 60
    calls = 2 if verb == "FinetuneJob.metrics" else 1  # it asks for a history too
    with FakeAzure(progression="realistic") as azure:
        watch = Watch(azure)
        call = VERBS[verb](azure)
        ws = azure.workspace(retries=PatientRetries(), on_event=watch).with_options(
            timeout=timedelta(seconds=limit_s)
        )
        begin(azure, trouble)
        started = azure.clock.monotonic()
        with suppress(PhiFinetuneError):
            call(ws)
        ended = watch.undone_at if verb in UNDOING and watch.undone_at else azure.clock.monotonic()
        end(azure)
    assert ended - started <= calls * (limit_s + MOST_S)


@pytest.mark.parametrize("call", TIMED)
def test_each_call_does_its_work(call: str) -> None:
    """Where nothing goes wrong, so that the tests above go all the way; what it gives has no limit."""
    with FakeAzure(progression="realistic") as azure:
        given = TIMED[call](azure, azure.workspace())(timedelta(days=1))
        azure.clock.advance(timedelta(days=2))
        if isinstance(given, pf.Endpoint | pf.GpuCompute | pf.FinetuneJob):
            assert given.refresh() is not None


def test_all_calls_with_a_timeout_are_here() -> None:
    """Every public call that takes one."""
    kinds = (pf.Workspace, pf.GpuCompute, pf.Finetune, pf.FinetuneJob, pf.RegisteredModel, pf.Endpoint)
    having = {
        f"{kind.__name__}.{name}"
        for kind in kinds
        for name, value in vars(kind).items()
        if not name.startswith("_") and inspect.isfunction(value)
        if "timeout" in inspect.signature(value).parameters
    }
    assert having == {name.partition(",")[0] for name in TIMED}


@pytest.mark.parametrize("at", ["PUT */onlineEndpoints/answers", "PUT */deployments/default"])
def test_what_a_call_had_made_when_its_time_was_up_is_undone(at: str) -> None:
    """That has time of its own, however short the call's was; the error says that nothing goes on billing."""
    limit = timedelta(seconds=30)
    with FakeAzure(progression="realistic") as azure:
        it = trained(azure, azure.workspace())
        azure.faults.next(Silence(at), times=3)
        azure.faults.next(Answer("DELETE */onlineEndpoints/answers", 503), times=8)
        with pytest.raises(DeadlineExceeded) as caught:
            it.deploy("answers", instance_type=SIZE, timeout=limit)
        assert azure.clock.monotonic() > 120
        assert azure.endpoints == {}
        assert caught.value.costs == "nothing: endpoint answers was deleted again"
        assert caught.value.limit_s == 30
        end(azure)


OPERATIONS = [name for name in TIMED if not name.startswith(("FinetuneJob", "Workspace"))]
LOOK = "GET *OperationsStatus*"


@pytest.mark.parametrize("call", OPERATIONS)
@pytest.mark.parametrize("status", [503, 404])
def test_a_look_that_fails_for_a_while_is_outlived(call: str, status: int) -> None:
    """Three looks in a row at its operation, whatever the policy (R13)."""
    with FakeAzure(progression="realistic") as azure:
        ready = TIMED[call](azure, azure.workspace(retries=NoRetries()))
        azure.faults.next(Answer(LOOK, status), times=3)
        ready(timedelta(days=1))
        end(azure)


@pytest.mark.parametrize("call", [name for name in OPERATIONS if name != "Endpoint.extend"])
def test_an_operation_that_fails_says_why(call: str) -> None:
    """The error has the service's code and words, and the call that comes next; what bills is told or deleted (R13)."""
    with FakeAzure(progression="realistic") as azure:
        ready = TIMED[call](azure, azure.workspace())
        azure.faults.next(OperationFails(code="InternalOops", message="The rack is on fire."))
        with pytest.raises(PhiFinetuneError) as caught:
            ready(timedelta(days=1))
        end(azure)
    error = caught.value
    assert "The rack is on fire." in str(error)
    assert error.code == "InternalOops"
    assert error.resource
    assert error.next_call
    assert error.costs


def test_all_that_a_job_logged_is_read_within_one_limit() -> None:
    """Each of the requests alone would fit, and all of them together do not."""
    limit_s = 60
    with FakeAzure(progression="realistic") as azure:
        ws = azure.workspace(retries=PatientRetries())
        trained(azure, ws)
        metrics = ws.with_options(timeout=timedelta(seconds=limit_s)).job("tune").metrics()
        assert len(metrics.keys) > 3
        begin(azure, "each request asked for twice")
        started = azure.clock.monotonic()
        with pytest.raises(DeadlineExceeded):
            metrics.to_frame()
        ended = azure.clock.monotonic()
        end(azure)
    assert ended - started <= limit_s + MOST_S
