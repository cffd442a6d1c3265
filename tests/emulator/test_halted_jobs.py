from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

import pytest
from asking import ask
from pipelines import follow, start

from phi_finetune.emulator.cloud import Cloud
from phi_finetune.emulator.core.faults import JobFails
from phi_finetune.emulator.runners.runner import Failure, JobInputs, Reply, Run, Step
from phi_finetune.testing import FakeAzure

Halt = Literal["NotResponding", "Paused"]
HALTS: tuple[Halt, ...] = ("NotResponding", "Paused")


def halt(cloud: Cloud, status: Halt, step: str = "chat_completion_finetune") -> None:
    """Submit a job that stops in a state, and follow it until it has."""
    cloud.faults.next(JobFails(step=step, status=status))
    start(cloud)
    for _ in range(100):
        if ask(cloud, "GET", "jobs/tune").body["properties"]["status"] == status:
            return
    raise AssertionError(f"the job never was {status}")


@pytest.mark.parametrize("status", HALTS)
def test_everybody_sees_the_halt(status: Halt) -> None:
    """Azure Resource Manager and run history agree on the state, and nobody knows of an error."""
    cloud = Cloud()
    halt(cloud, status)
    for run in (follow(cloud, "runs/tune").body, follow(cloud, "runs/tune/details").body):
        assert (run["status"], run["error"]) == (status, None)
    [listed] = ask(cloud, "GET", "jobs").body["value"]
    assert listed["properties"]["status"] == status


@pytest.mark.parametrize("status", HALTS)
def test_no_step_fails(status: Halt) -> None:
    """The step that was under way stays as it was last heard of, later ones never begin, nothing is made."""
    cloud = Cloud()
    halt(cloud, status)
    before = cloud.clock.now()
    children = follow(cloud, "runs/tune/children").body["value"]
    assert [child["status"] for child in children] == ["Completed"] * 3 + ["Running"]
    assert [child["error"] for child in children] == [None] * 4
    assert children[-1]["endTimeUtc"] is None
    assert cloud.storage.list("azureml/tune/") == []
    for _ in range(3):
        assert follow(cloud, "runs/tune/details").body["status"] == status
    assert cloud.clock.now() == before


def test_a_lost_job_is_over() -> None:
    """A job that does not respond has ended, and cannot be canceled."""
    cloud = Cloud()
    halt(cloud, "NotResponding")
    assert follow(cloud, "runs/tune").body["endTimeUtc"] is not None
    refused = ask(cloud, "POST", "jobs/tune/cancel")
    assert (refused.status, refused.code) == (400, "UserError")


def test_a_paused_job_can_be_canceled() -> None:
    """A paused job has not ended; canceled, it takes its step with it."""
    with FakeAzure() as azure:
        halt(azure.cloud, "Paused")
        assert azure.jobs["tune"].ended is None
        azure.ml_client().jobs.begin_cancel("tune").wait()
        assert azure.jobs["tune"].status == "Canceled"
        assert azure.jobs["tune"].children[-1].status == "Canceled"
        assert azure.jobs["tune"].children[-1].ended == azure.jobs["tune"].ended


@pytest.mark.parametrize("status", HALTS)
def test_streaming_just_ends(status: Halt, capsys: pytest.CaptureFixture[str]) -> None:
    """The real client's stream returns as if all were well (wire.md 5, end states); get says the truth."""
    with FakeAzure() as azure:
        azure.faults.next(JobFails(status=status))
        start(azure.cloud)
        client = azure.ml_client()
        client.jobs.stream("tune")
        assert client.jobs.get("tune").status == status
    assert "Execution Summary" in capsys.readouterr().out


def test_mlflow_knows_the_halt() -> None:
    """MLflow has no word for either state: one is failed to it, the other runs."""
    statuses = []
    for status in HALTS:
        cloud = Cloud()
        halt(cloud, status)
        url = f"{cloud.workspace.api}/mlflow/v2.0{cloud.workspace.id}/api/2.0/mlflow/runs/get?run_id=tune"
        statuses.append(ask(cloud, "GET", url).body["run"]["info"]["status"])
    assert statuses == ["FAILED", "RUNNING"]


class FirstStepFails:
    """A runner whose every job fails in its first step."""

    def run(self, job: JobInputs) -> Run:
        return Run([Step(job.steps[0], timedelta(hours=1), failure=Failure("UserError", "No."))], {})

    def reply(self, model: Mapping[str, bytes], body: Any) -> Reply:
        return Reply(200, None)


def test_an_earlier_failure_comes_first() -> None:
    """A job that fails before the step that would halt it has failed."""
    cloud = Cloud(runner=FirstStepFails())
    cloud.faults.next(JobFails(status="Paused"))
    start(cloud)
    cloud.clock.advance(timedelta(days=1))
    assert ask(cloud, "GET", "jobs/tune").body["properties"]["status"] == "Failed"
