"""Every fault of every kind of request comes to what its verdict says: docs/faults.md, cell by cell (R7)."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from contextlib import suppress

import pipelines
import pytest
from pages import DOCS, ROOT
from tuning import SIZE, data, finetune, trained

import phi_finetune as pf
from phi_finetune._verdicts import FAULTS, OPERATIONS, Fault, Operation, verdict
from phi_finetune._waiting import LOOKS_MAY_FAIL
from phi_finetune.emulator.core.faults import Fault as AnyFault
from phi_finetune.protocols import RetryPolicy
from phi_finetune.retries import NoRetries, StandardRetries
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import (
    Answer,
    AnswerLost,
    ExpiredToken,
    HalfBody,
    RequestFault,
    Silence,
    Unreachable,
)

FAKES: dict[Fault, Callable[[str], RequestFault]] = {
    "429 with Retry-After": lambda on: Answer(on, 429, headers={"Retry-After": "7"}),
    "429": lambda on: Answer(on, 429),
    "503": lambda on: Answer(on, 503),
    "500": lambda on: Answer(on, 500),
    "502": lambda on: Answer(on, 502),
    "409": lambda on: Answer(on, 409),
    "connection reset": lambda on: AnswerLost(on, applied=False),
    "connection refused": Unreachable,
    "read timeout": lambda on: Silence(on, applied=False),
    "connect timeout": lambda on: Silence(on, after="connect"),
    "401, expired token": ExpiredToken,
    "half a JSON body": lambda on: HalfBody(on, "half-json"),
    "body cut short": lambda on: HalfBody(on, "cut"),
    "applied, then reset": AnswerLost,
    "applied, then timeout": Silence,
}

APPLIED = ("half a JSON body", "body cut short", "applied, then reset", "applied, then timeout")
"""Faults after which the request was carried out."""

WITHOUT_JSON = ("delete an endpoint", "delete a cluster", "upload a file")
"""Requests whose answers have no body that could come by half."""

ATTEMPTS = 3


def nothing(azure: FakeAzure) -> None:
    """Nothing."""


def running(azure: FakeAzure) -> None:
    """A job that runs."""
    pipelines.start(azure.cloud, "tune")


def completed(azure: FakeAzure) -> None:
    """A job that has completed."""
    running(azure)
    azure.workspace().job("tune").wait()


def registered(azure: FakeAzure) -> None:
    """A registered model."""
    trained(azure, azure.workspace())


def deployed(azure: FakeAzure) -> None:
    """An endpoint that answers."""
    trained(azure, azure.workspace()).deploy("answers", instance_type=SIZE)


def clustered(azure: FakeAzure) -> None:
    """A cluster."""
    azure.workspace().gpu_compute("gpu", size=SIZE).ensure()


def deploy(workspace: pf.Workspace) -> object:
    """Make an endpoint with a deployment."""
    return workspace.model("facts").deploy("answers", instance_type=SIZE)


def ask(workspace: pf.Workspace) -> object:
    """Ask a model."""
    return workspace.endpoint("answers").chat("Name a river.")


CALLS: dict[str, tuple[Callable[[FakeAzure], None], Callable[[pf.Workspace], object]]] = {
    "list the jobs": (nothing, lambda ws: ws.jobs()),
    "read a model of the registry": (nothing, lambda ws: ws.foundation_model("Phi-4")),
    "read the store's access": (nothing, lambda ws: finetune(ws).submit()),
    "fetch an endpoint's keys": (deployed, lambda ws: ws.endpoint("answers").keys()),
    "read a job's steps": (completed, lambda ws: ws.job("tune").children()),
    "follow an operation": (nothing, lambda ws: ws.gpu_compute("gpu", size=SIZE).ensure()),
    "make a cluster": (nothing, lambda ws: ws.gpu_compute("gpu", size=SIZE).ensure()),
    "submit a job": (nothing, lambda ws: finetune(ws).submit()),
    "register a model": (completed, lambda ws: ws.job("tune").register("facts")),
    "register a data set": (nothing, lambda ws: ws.register_data(data())),
    "make an endpoint": (registered, deploy),
    "make a deployment": (registered, deploy),
    "set the traffic": (deployed, lambda ws: ws.endpoint("answers").shift_traffic({"default": 0})),
    "delete an endpoint": (deployed, lambda ws: ws.endpoint("answers").delete()),
    "delete a cluster": (clustered, lambda ws: ws.gpu_compute("gpu").delete()),
    "upload a file": (nothing, lambda ws: finetune(ws).submit()),
    "ask a model": (deployed, ask),
    "cancel a job": (running, lambda ws: ws.job("tune").cancel()),
}


def cells() -> list[tuple[Operation, Fault]]:
    """Every fault of every request that can meet it."""
    return [
        (operation, fault)
        for operation in OPERATIONS
        for fault in FAULTS
        if not (operation.name in WITHOUT_JSON and fault in ("half a JSON body", "body cut short"))
    ]


def named(part: object) -> str:
    """A part of a cell, in a test's name."""
    return str(getattr(part, "name", part)).replace(" ", "-")


def comes_through(operation: Operation, retries: RetryPolicy, *faults: RequestFault) -> bool:
    """Whether a call does what it is for, where its request meets faults; if not, the error is one of ours.

    Either way each thing was made once at most.
    """
    prepare, call = CALLS[operation.name]
    with FakeAzure() as azure:
        prepare(azure)
        for fault in faults:
            azure.faults.next(fault)
        try:
            call(azure.workspace(retries=retries))
        except pf.PhiFinetuneError:
            return False
        finally:
            assert len(azure.jobs) <= 1
            assert sum(len(versions) for versions in azure.models.values()) <= 1
            assert sum(len(versions) for versions in azure.data.values()) <= 1
            assert len(azure.cloud.endpoints.made) <= 1
            assert len(azure.cloud.computes.made) <= 1
    return True


@pytest.mark.parametrize(
    ("operation", "fault"),
    cells(),
    ids=named,
)
def test_a_fault_comes_to_its_verdict(operation: Operation, fault: Fault) -> None:
    """It strikes once."""
    strike = FAKES[fault](operation.request)
    match verdict(operation, fault):
        case "fail":
            assert not comes_through(operation, StandardRetries(attempts=ATTEMPTS), strike)
        case "re-authenticate":
            assert comes_through(operation, NoRetries(), strike)
        case "retry":
            assert comes_through(operation, StandardRetries(attempts=2), strike)
            if operation.kind != "wait":
                assert not comes_through(operation, NoRetries(), strike)
        case "reconcile" if fault in APPLIED:
            assert comes_through(operation, NoRetries(), strike)
        case "reconcile" if fault == "409" and operation.kind != "action":
            lost = AnswerLost(operation.request)
            assert comes_through(operation, StandardRetries(attempts=2), lost, strike)
        case "reconcile":
            assert comes_through(operation, StandardRetries(attempts=2), strike) == (
                operation.kind != "action"
            )


def expected_sends(operation: Operation, fault: Fault) -> int:
    """How often a request is sent that fails in this way each time, where the policy allows three sends."""
    refused = fault == "409" or (operation.kind == "action" and verdict(operation, fault) == "reconcile")
    sends = 1 if refused else ATTEMPTS
    if operation.kind == "wait":
        return LOOKS_MAY_FAIL * sends
    if operation.kind == "file" and fault in APPLIED:
        return 2 * sends  # the first file is found, and the second is another request of the same form
    if operation.kind == "file" and fault == "409":
        return 2  # once unless it is there, and once whatever is there, for half of it may be
    if (operation.name, fault) == ("submit a job", "half a JSON body"):
        return 2  # the second is refused, and half of a refusal is one
    if operation.name == "make an endpoint" and fault in APPLIED:
        return (
            2 * sends
        )  # the endpoint is found, and at the end its traffic is another request of the same form
    return sends


@pytest.mark.parametrize(
    ("operation", "fault"),
    [cell for cell in cells() if cell[1] != "401, expired token"],
    ids=named,
)
def test_no_layer_multiplies_what_is_sent(
    operation: Operation, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It strikes always: of one request no more sends reach the wire than the policy allows (R4)."""
    prepare, call = CALLS[operation.name]
    strike = FAKES[fault](operation.request)
    with FakeAzure() as azure:
        prepare(azure)
        met = Met(azure, monkeypatch)
        azure.faults.at_rate(1, kinds=[strike])
        with suppress(pf.PhiFinetuneError):
            call(azure.workspace(retries=StandardRetries(attempts=ATTEMPTS, budget_s=5000)))
        azure.faults.stop()
    assert met.count == expected_sends(operation, fault)


class Met:
    """Counts the faults that were met; one that is met before there is a connection is in no journal."""

    def __init__(self, azure: FakeAzure, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._met = azure.faults.met
        monkeypatch.setattr(azure.faults, "met", self._counted)

    def _counted(self, fault: AnyFault) -> None:
        self.count += 1
        self._met(fault)


def test_the_page_is_that_of_the_verdicts() -> None:
    """``python scripts/make_verdicts_page.py`` writes it anew."""
    made = runpy.run_path(str(ROOT / "scripts" / "make_verdicts_page.py"))["render"]()
    assert (DOCS / "faults.md").read_text(encoding="utf-8") == made
