"""How the nightly run is tested: the whole of it, with the real azure-ai-ml, on a fake Azure. Nothing is mocked."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from azure.ai.ml.entities import ManagedOnlineEndpoint
from azure.core.exceptions import HttpResponseError
from nightly import AGAIN, ENDPOINT, MODEL, SIZE, NightFailed, deploy, finish, nightly, shift

from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import Answer, AnswerLost, DeploymentFails, JobFails

pytestmark = pytest.mark.leaves_running  # that an endpoint goes on serving is what the run is for

Run = Callable[[], str]
NIGHT = "nightly-20261124"
ROW = {
    "messages": [
        {"role": "user", "content": "Where is my parcel?"},
        {"role": "assistant", "content": "It waits for you at the post office."},
    ]
}


@pytest.fixture
def run(fake_azure: FakeAzure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The run, on an Azure whose endpoint is served by ``blue``. Its pauses pass on the fake's clock."""
    workspace, registry = fake_azure.ml_client(), fake_azure.ml_client("azureml")
    finish(workspace.online_endpoints.begin_create_or_update, ManagedOnlineEndpoint(name=ENDPOINT))
    deploy(workspace, "blue", registry.models.get("Phi-4", label="latest"))
    shift(workspace, {"blue": 100})
    fake_azure.journal.clear()
    for split in ("train", "validation"):
        (tmp_path / f"{split}.jsonl").write_text(f"{json.dumps(ROW)}\n" * 12, encoding="utf-8")
    monkeypatch.chdir(tmp_path)  # azure-ai-ml tags jobs with what git says of the folder that it runs in
    again = AGAIN.copy(sleep=fake_azure.clock.sleep)
    return lambda: nightly(workspace, registry, tmp_path, date(2026, 11, 24), again)


def assert_serves(azure: FakeAzure, deployment: str) -> None:
    """One deployment has all traffic, and nothing else goes on costing money."""
    assert azure.endpoints[ENDPOINT].traffic == {deployment: 100}
    assert [row.resource for row in azure.billing().leaks] == [f"{ENDPOINT}/{deployment}"]


def test_the_new_model_takes_over(run: Run, fake_azure: FakeAzure) -> None:
    """It is trained, registered with where it comes from, tried, and given the traffic; then the old one goes."""
    assert run() == NIGHT
    assert [(name, job.status) for name, job in fake_azure.jobs.items()] == [(NIGHT, "Completed")]
    (model,) = fake_azure.models[MODEL]
    assert model.tags == {"job": NIGHT, "day": "2026-11-24"}
    fake_azure.journal.expect(
        f"PUT */jobs/{NIGHT}",
        f"PUT */deployments/{NIGHT}",
        "POST */score",
        f"PUT */onlineEndpoints/{ENDPOINT}",
        "DELETE */deployments/blue",
    )
    assert_serves(fake_azure, NIGHT)
    assert {row.size for row in fake_azure.billing().rows} == {SIZE}


def test_a_failed_job_changes_nothing(run: Run, fake_azure: FakeAzure) -> None:
    """Without a new model, the old one goes on serving."""
    fake_azure.faults.next(JobFails(step="chat_completion_finetune", message="CUDA out of memory."))
    with pytest.raises(NightFailed, match=f"{NIGHT} did not complete"):
        run()
    assert not fake_azure.models
    assert not fake_azure.journal.filter(method="PUT", path="*/onlineEndpoints/*")
    assert_serves(fake_azure, "blue")


def test_a_lost_answer_pays_for_one_job(run: Run, fake_azure: FakeAzure) -> None:
    """Azure took the job, and the connection broke before it could say so."""
    fake_azure.faults.next(AnswerLost("PUT */jobs/*"))
    run()
    assert list(fake_azure.jobs) == [NIGHT]
    assert_serves(fake_azure, NIGHT)


def test_a_deployment_that_fails_is_deleted(run: Run, fake_azure: FakeAzure) -> None:
    """Green never becomes healthy: it goes, and blue has kept all traffic."""
    fake_azure.faults.next(DeploymentFails(message="Readiness probe failed."))
    with pytest.raises(HttpResponseError, match="Readiness probe failed"):
        run()
    assert len(fake_azure.journal.filter(method="PUT", path="*/deployments/*")) == 1
    assert not fake_azure.journal.filter(method="PUT", path=f"*/onlineEndpoints/{ENDPOINT}")
    assert_serves(fake_azure, "blue")


def test_a_busy_model_is_asked_again(run: Run, fake_azure: FakeAzure) -> None:
    """Neither too many requests nor a service that is away for a moment makes the smoke test fail."""
    fake_azure.faults.next(Answer("POST */score", 429, headers={"Retry-After": "20"}))
    fake_azure.faults.next(Answer("POST */score", 429))
    fake_azure.faults.next(Answer("POST */score", 503), times=5)
    run()
    answers = fake_azure.journal.filter(method="POST", path="*/score")
    assert [answer.status for answer in answers] == [429, 429, *[503] * 5, 200]
    assert (answers[1].when - answers[0].when).total_seconds() >= 20
    assert_serves(fake_azure, NIGHT)
