from __future__ import annotations

from datetime import timedelta

import pipelines
import pytest
from asking import ask

import phi_finetune as pf
from phi_finetune.errors import DeadlineExceeded, ServiceUnreachable
from phi_finetune.protocols import Try
from phi_finetune.retries import NoRetries, StandardRetries
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import Trickle

JOBS = "GET */workspaces/phi-lab/jobs"
READ_TIMEOUT_S = 100
"""The library's, between two bytes."""
BODY_TIMEOUT_S = 600
"""The library's, for a whole body."""


class Asked:
    """A policy that gives up, and keeps what it was asked about."""

    def __init__(self) -> None:
        self.tries: list[Try] = []

    def wait_s(self, failed: Try) -> float | None:
        self.tries.append(failed)
        return None


@pytest.fixture(autouse=True)
def one_job(fake_azure: FakeAzure) -> None:
    """Make the list of jobs some thousand bytes long."""
    pipelines.start(fake_azure.cloud, "tune")
    assert len(str(ask(fake_azure.cloud, "GET", "jobs").body)) > 1000
    fake_azure.journal.clear()


def passed_s(azure: FakeAzure, call: pf.Workspace, *errors: type[Exception]) -> float:
    """How long a list of the jobs takes to fail."""
    before = azure.clock.monotonic()
    with pytest.raises(errors):
        call.jobs()
    return azure.clock.monotonic() - before


@pytest.mark.parametrize("pause_s", [1, 10, 99])
@pytest.mark.parametrize("timeout_s", [1, 60, 300])
def test_a_trickle_does_not_outlast_the_deadline(
    fake_azure: FakeAzure, workspace: pf.Workspace, timeout_s: int, pause_s: float
) -> None:
    """Each byte comes within the read timeout, and all of them would take hours (reliability.md R5)."""
    fake_azure.faults.next(Trickle(JOBS, pause_s))
    limited = workspace.with_options(timeout=timedelta(seconds=timeout_s))
    took_s = passed_s(fake_azure, limited, DeadlineExceeded, ServiceUnreachable)
    assert took_s <= timeout_s + 1 + READ_TIMEOUT_S


def test_a_trickle_ends_without_a_deadline_too(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """After ten minutes; it is a failure like any other, and a policy with patience sends the request again."""
    fake_azure.faults.next(Trickle(JOBS, 30))
    took_s = passed_s(fake_azure, workspace.with_options(retries=NoRetries()), ServiceUnreachable)
    assert BODY_TIMEOUT_S < took_s < BODY_TIMEOUT_S + 60
    fake_azure.faults.next(Trickle(JOBS, 30))
    assert len(workspace.with_options(retries=StandardRetries(budget_s=3600)).jobs()) == 1


def test_a_slow_body_is_read_to_its_end(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Slow is not too slow."""
    fake_azure.faults.next(Trickle(JOBS, 0.01))
    assert len(workspace.jobs()) == 1
    assert len(fake_azure.journal.filter(path="*/jobs")) == 1


def test_a_body_that_stops_was_sent_for(fake_azure: FakeAzure) -> None:
    """A policy must not take its request for one that never left: it may have been carried out."""
    asked = Asked()
    fake_azure.faults.next(Trickle(JOBS, READ_TIMEOUT_S + 1))
    workspace = fake_azure.workspace(retries=asked)
    assert READ_TIMEOUT_S <= passed_s(fake_azure, workspace, ServiceUnreachable) < 2 * READ_TIMEOUT_S
    assert [(failed.sent, failed.status_code) for failed in asked.tries] == [(True, None)]
