"""How long a run may take, and how low-priority nodes are taken away."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

import pytest
from asking import ask
from finetunes import submit
from pipelines import follow

from phi_finetune.emulator.cloud import Cloud, Settings
from phi_finetune.emulator.core.faults import JobFails, Preempted
from phi_finetune.emulator.runners.runner import JobInputs, Metric, Reply, Run, Step
from phi_finetune.errors import JobFailed
from phi_finetune.testing import FakeAzure

SIZE = "Standard_NC24ads_A100_v4"
FAMILY = "standardNCADSA100v4Family"
FINETUNE = "chat_completion_finetune"
CONVERTER = "ft_nlp_model_converter"
Priority = Literal["Dedicated", "LowPriority"]


class LongTraining:
    """A runner whose jobs train so long, log a metric each day, and take a minute for each other step."""

    def __init__(self, days: float) -> None:
        self.lasts = timedelta(days=days)

    def run(self, job: JobInputs) -> Run:
        metrics = [Metric("loss", 1.0, day, timedelta(days=day)) for day in range(1, 1 + self.lasts.days)]
        steps = {name: Step(name, timedelta(minutes=1)) for name in job.steps}
        steps[FINETUNE] = Step(FINETUNE, self.lasts, metrics=metrics)
        return Run(list(steps.values()), {})

    def reply(self, model: Mapping[str, bytes], body: Any) -> Reply:
        return Reply(200, None)


def cluster(cloud: Cloud, priority: Priority) -> str:
    """A cluster of one node."""
    sent = {"vmSize": SIZE, "vmPriority": priority, "scaleSettings": {"maxNodeCount": 1}}
    body = {"location": "eastus", "properties": {"computeType": "AmlCompute", "properties": sent}}
    assert ask(cloud, "PUT", "computes/gpu", body).status == 201
    cloud.clock.advance(timedelta(minutes=10))
    return "gpu"


def cloud_of(days: float) -> Cloud:
    """A cloud whose jobs train so long."""
    return Cloud(Settings(quota={FAMILY: 24}), LongTraining(days))


def trained(cloud: Cloud, compute: str) -> str:
    """The last state of a job on a compute."""
    assert submit(cloud, "tune", compute=compute).status == 201
    cloud.clock.advance(timedelta(days=60))
    return str(ask(cloud, "GET", "jobs/tune").body["properties"]["status"])


def last_step(cloud: Cloud) -> Any:
    """The last step that began, as run history has it."""
    return follow(cloud, "runs/tune/children").body["value"][-1]


@pytest.mark.parametrize(("compute", "limit"), [("Dedicated", 21), ("LowPriority", 7), ("serverless", 21)])
def test_a_run_has_so_many_days(compute: Priority | Literal["serverless"], limit: int) -> None:
    """A run that takes as long as allowed completes; a longer one is ended then, and the job fails."""
    for days, ends in ((limit, "Completed"), (limit + 0.1, "Failed")):
        cloud = cloud_of(days)
        where = compute if compute == "serverless" else cluster(cloud, compute)
        assert trained(cloud, where) == ends
    step = last_step(cloud)
    assert (step["displayName"], step["status"]) == (FINETUNE, "Failed")
    assert f"longer than {limit} days" in step["error"]["error"]["message"]
    child = cloud.jobs.find("tune").children[-1]
    assert child.started is not None
    assert child.ended == child.started + timedelta(days=limit)
    assert len(child.metrics) == limit


def test_preemption_fails_the_job() -> None:
    """The step is cut half-way with a PreemptionError, and the job fails, as users have seen it (pain.md I4)."""
    cloud = cloud_of(2)
    cloud.faults.next(Preempted())
    assert trained(cloud, cluster(cloud, "LowPriority")) == "Failed"
    step = last_step(cloud)
    assert (step["displayName"], step["error"]["error"]["code"]) == (FINETUNE, "PreemptionError")
    child = cloud.jobs.find("tune").children[-1]
    assert child.started is not None
    assert child.ended == child.started + timedelta(days=1)
    assert "preempted" in child.log()
    assert cloud.faults.unmet == ()


def test_any_step_can_be_preempted_and_the_next_job_is_not() -> None:
    """It is met once, in the step that the test names."""
    cloud = cloud_of(2)
    cloud.faults.next(Preempted(step=CONVERTER))
    assert trained(cloud, cluster(cloud, "LowPriority")) == "Failed"
    assert last_step(cloud)["displayName"] == CONVERTER
    assert submit(cloud, "again", compute="gpu").status == 201
    cloud.clock.advance(timedelta(days=60))
    assert ask(cloud, "GET", "jobs/again").body["properties"]["status"] == "Completed"


def test_a_failure_goes_before_a_preemption() -> None:
    """A job meets one of the two; the preemption waits for the next job."""
    cloud = cloud_of(2)
    cloud.faults.next(Preempted())
    cloud.faults.next(JobFails(step=CONVERTER))
    assert trained(cloud, cluster(cloud, "LowPriority")) == "Failed"
    assert last_step(cloud)["displayName"] == CONVERTER
    assert cloud.faults.unmet == (Preempted(),)


@pytest.mark.parametrize("compute", ["Dedicated", "serverless"])
def test_dedicated_nodes_stay(compute: Priority | Literal["serverless"]) -> None:
    """A test that preempts them is mistaken, and is told so."""
    cloud = cloud_of(2)
    cloud.faults.next(Preempted())
    where = compute if compute == "serverless" else cluster(cloud, compute)
    with pytest.raises(ValueError, match="is not of low priority"):
        trained(cloud, where)


def test_a_step_that_is_not_there_cannot_be_preempted() -> None:
    """The error names the steps that there are."""
    cloud = cloud_of(2)
    cloud.faults.next(Preempted(step="train"))
    with pytest.raises(ValueError, match=f"no step 'train'.*{FINETUNE}"):
        trained(cloud, cluster(cloud, "LowPriority"))


def test_our_client_knows_a_preemption() -> None:
    """The error of a wait names the step, the code, and what to do."""
    with FakeAzure(quota={FAMILY: 24}, runner=LongTraining(2)) as azure:
        azure.faults.next(Preempted())
        submit(azure.cloud, "tune", compute=cluster(azure.cloud, "LowPriority"))
        with pytest.raises(JobFailed, match="PreemptionError") as caught:
            azure.workspace().job("tune").wait()
    assert caught.value.child == FINETUNE
    assert "low-priority" in str(caught.value)
