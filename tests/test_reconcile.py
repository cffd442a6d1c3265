"""Changes whose answer does not tell: looked for, adopted, and made once; also where reads are late."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pipelines
import pytest
from asking import ask
from tuning import SIZE, Heard, finetune, sent, trained

import phi_finetune as pf
from phi_finetune.emulator.core.http import Request, Response
from phi_finetune.errors import DeploymentFailed, NameTaken, OutcomeUnknown, ServiceUnreachable
from phi_finetune.events import AdoptedExisting
from phi_finetune.protocols import RetryPolicy
from phi_finetune.retries import NoRetries, StandardRetries
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import (
    Answer,
    AnswerLost,
    DeploymentFails,
    HalfBody,
    JobFails,
    RequestFault,
    Silence,
    Unreachable,
)

E, D = "*/onlineEndpoints/answers", "*/onlineEndpoints/answers/deployments/default"


# Every change, every way to lose its answer


def ensure(azure: FakeAzure, workspace: pf.Workspace) -> bool:
    """Make a cluster; whether there is one, made once."""
    cluster = workspace.gpu_compute("gpu", size=SIZE).ensure()
    return cluster.provisioning_state == "Succeeded" and len(azure.cloud.computes.made) == 1


def scale(azure: FakeAzure, workspace: pf.Workspace) -> bool:
    """Change a cluster."""
    return workspace.gpu_compute("gpu").scale(max_nodes=3).max_nodes == 3 == azure.computes["gpu"].max_nodes


def delete_cluster(azure: FakeAzure, workspace: pf.Workspace) -> bool:
    """Delete a cluster."""
    workspace.gpu_compute("gpu").delete()
    return azure.computes == {}


def submit(azure: FakeAzure, workspace: pf.Workspace) -> bool:
    """Submit a job; whether it is the only one."""
    job = finetune(workspace).submit()
    return list(azure.jobs) == [job.name]


def cancel(azure: FakeAzure, workspace: pf.Workspace) -> bool:
    """Cancel a job."""
    return workspace.job("tune").cancel().status == "Canceled"


def register(azure: FakeAzure, workspace: pf.Workspace) -> bool:
    """Register a model; whether that made one version."""
    workspace.job("tune").register("facts")
    return len(azure.models["facts"]) == 1


def deploy(azure: FakeAzure, workspace: pf.Workspace) -> bool:
    """Deploy a model, ask, delete; whether one deployment was made, and nothing is left."""
    with workspace.model("facts").deploy("answers", instance_type=SIZE) as endpoint:
        answered = bool(endpoint.created_here and endpoint.chat("Name a river.").text)
    return answered and len(azure.cloud.endpoints.made) == 1 and azure.endpoints == {}


def shift(azure: FakeAzure, workspace: pf.Workspace) -> bool:
    """Take the traffic away."""
    return workspace.endpoint("answers").shift_traffic({"default": 0}).traffic.get("default", 0) == 0


def delete_deployment(azure: FakeAzure, workspace: pf.Workspace) -> bool:
    """Delete a deployment that takes no traffic."""
    return workspace.endpoint("answers").delete_deployment("green").deployments() != () and not [
        one for one in azure.cloud.endpoints.deployments() if one.name == "green"
    ]


def delete_endpoint(azure: FakeAzure, workspace: pf.Workspace) -> bool:
    """Delete an endpoint."""
    workspace.endpoint("answers").delete()
    return azure.endpoints == {}


def shown(azure: FakeAzure, path: str) -> None:
    """Read something until it shows."""
    while ask(azure.cloud, "GET", path).status == 404:
        pass


def with_cluster(azure: FakeAzure) -> None:
    """A cluster."""
    azure.workspace().gpu_compute("gpu", size=SIZE).ensure()
    shown(azure, "computes/gpu")


def with_job(azure: FakeAzure) -> None:
    """A job that runs."""
    pipelines.start(azure.cloud, "tune")
    shown(azure, "jobs/tune")


def with_trained(azure: FakeAzure) -> pf.FinetuneJob:
    """A job that has completed."""
    with_job(azure)
    return azure.workspace().job("tune").wait()


def with_model(azure: FakeAzure) -> pf.RegisteredModel:
    """A registered model."""
    model = with_trained(azure).register("facts")
    shown(azure, f"models/facts/versions/{model.version}")
    return model


def with_endpoint(azure: FakeAzure) -> None:
    """An endpoint with a deployment that takes traffic and one that takes none."""
    model = with_model(azure)
    model.deploy("answers", instance_type=SIZE).deploy(model, "green", instance_type=SIZE)


def nothing(azure: FakeAzure) -> None:
    """Nothing."""


CHANGES: dict[str, tuple[Callable[[FakeAzure], object], str, Callable[[FakeAzure, pf.Workspace], bool]]] = {
    "cluster": (nothing, "PUT */computes/gpu", ensure),
    "scale": (with_cluster, "PUT */computes/gpu", scale),
    "cluster-delete": (with_cluster, "DELETE */computes/gpu", delete_cluster),
    "job": (nothing, "PUT */jobs/*", submit),
    "cancel": (with_job, "POST */cancel", cancel),
    "model": (with_trained, "PUT */models/facts/*", register),
    "endpoint": (with_model, f"PUT {E}", deploy),
    "deployment": (with_model, f"PUT {D}", deploy),
    "traffic": (with_endpoint, f"PUT {E}", shift),
    "deployment-delete": (with_endpoint, "DELETE */deployments/green", delete_deployment),
    "endpoint-delete": (with_endpoint, f"DELETE {E}", delete_endpoint),
}

LOST: dict[str, Callable[[str], list[RequestFault]]] = {
    "lost": lambda on: [AnswerLost(on)],
    "lost-timeout": lambda on: [Silence(on)],
    "half": lambda on: [HalfBody(on, "half-json")],
    "cut": lambda on: [HalfBody(on, "cut")],
    "lost-then-409": lambda on: [AnswerLost(on), Answer(on, 409, "Conflict", "It is there.")],
}

POLICIES: dict[str, RetryPolicy] = {"standard": StandardRetries(), "none": NoRetries()}

WITHOUT_BODY = ("cluster-delete", "cancel", "deployment-delete", "endpoint-delete")
"""Changes whose answers have no body that could come by half."""


def cells() -> list[tuple[str, str, str]]:
    """Every change with every way to lose its answer that it can meet, under either policy."""
    return [
        (change, lost, policy)
        for change in CHANGES
        for lost in LOST
        for policy in POLICIES
        if not (lost in ("half", "cut") and change in WITHOUT_BODY)
        if not (lost == "lost-then-409" and (policy == "none" or change == "cancel"))
    ]


@pytest.mark.parametrize("late", [0, 2], ids=lambda reads: f"{reads}-late")
@pytest.mark.parametrize(("change", "lost", "policy"), cells())
def test_a_change_whose_answer_is_lost_is_made_once(change: str, lost: str, policy: str, late: int) -> None:
    """It was made: that is found out, whatever the policy, and although the first reads may not show it (R9)."""
    prepare, on, call = CHANGES[change]
    with FakeAzure(visible_after_reads=late, gone_after_reads=late, traffic_after_reads=late) as azure:
        prepare(azure)
        for fault in LOST[lost](on):
            azure.faults.next(fault)
        assert call(azure, azure.workspace(retries=POLICIES[policy]))


# Jobs


@pytest.mark.parametrize("late", [1, 2, 5])
def test_a_job_that_does_not_show_yet_is_adopted(late: int) -> None:
    """A second process does not see the first one's job, and is refused; it waits until that shows."""
    with FakeAzure(visible_after_reads=late) as azure:
        first = finetune(azure.workspace()).submit()
        heard = Heard()
        second = finetune(azure.workspace(on_event=heard)).submit()
        assert second.name == first.name
        assert list(azure.jobs) == [first.name]
        assert len(heard.of(AdoptedExisting)) == 1


def test_a_spent_job_that_does_not_show_yet_is_spent(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """What the refusal leads to failed long ago: the next attempt is submitted, and the failed job not returned."""
    fake_azure.faults.next(JobFails())
    first = finetune(workspace).submit()
    with pytest.raises(pf.PhiFinetuneError):
        first.wait()
    fake_azure.faults.next(Answer("GET */jobs/*", 404, "UserError", "Could not find it."))
    second = finetune(workspace).submit()
    assert second.name == f"{first.name}-2"


def test_a_further_job_whose_answer_is_lost_is_one_job(fake_azure: FakeAzure) -> None:
    """Also where "again" asks for one more than there are: what was not there before is the one."""
    first = finetune(fake_azure.workspace()).submit()
    fake_azure.faults.next(AnswerLost("PUT */jobs/*"))
    second = finetune(fake_azure.workspace(retries=NoRetries())).submit(again=True)
    assert list(fake_azure.jobs) == [first.name, second.name] == [first.name, f"{first.name}-2"]


@pytest.mark.parametrize("fault", [Unreachable("PUT */jobs/*"), AnswerLost("PUT */jobs/*", applied=False)])
def test_what_was_looked_for_in_vain_is_not_sent_again(fake_azure: FakeAzure, fault: RequestFault) -> None:
    """The policy said one send: the error is the connection's own, and the next call submits."""
    fake_azure.faults.next(fault)
    with pytest.raises(ServiceUnreachable):
        finetune(fake_azure.workspace(retries=NoRetries())).submit()
    assert len(sent(fake_azure, "PUT", "*/jobs/*")) <= 1
    assert dict(fake_azure.jobs) == {}
    assert 1 < len(sent(fake_azure, "GET", "*/jobs/*")) < 15


def test_an_interrupted_submission_says_how_to_go_on(
    fake_azure: FakeAzure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job may be running; the note has the calls that find it and that end it."""
    tune = finetune(fake_azure.workspace())
    handle = fake_azure.cloud.handle

    def stop(request: Request) -> Response:
        answer = handle(request)
        if request.method == "PUT" and "/jobs/" in request.path:
            raise KeyboardInterrupt
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(fake_azure.cloud, "handle", stop)
        with pytest.raises(KeyboardInterrupt) as caught:
            tune.submit()
    (name,) = fake_azure.jobs
    (note,) = caught.value.__notes__
    assert note.startswith("The job may be running")
    assert f'ws.job("{name}").cancel()' in note
    assert tune.submit().name == name


# Endpoints


@pytest.mark.parametrize("late", [0, 3], ids=lambda reads: f"{reads}-late")
@pytest.mark.parametrize("name", [None, "answers"], ids=["default", "named"])
def test_an_endpoint_that_is_being_deleted_is_waited_for(late: int, name: str | None) -> None:
    """A run that was cut off while it deleted is followed by one that deploys anew under the same name."""
    with FakeAzure(gone_after_reads=late) as azure:
        workspace = azure.workspace()
        model = trained(azure, workspace)
        first = model.deploy(name, instance_type=SIZE)
        ask(azure.cloud, "DELETE", f"onlineEndpoints/{first.name}")
        with model.deploy(name, instance_type=SIZE) as second:
            assert (second.name, second.created_here) == (first.name, True)
            assert second.chat("Name a river.").text
        assert azure.endpoints == {}


@pytest.mark.parametrize("late", [0, 3], ids=lambda reads: f"{reads}-late")
def test_a_cluster_that_is_being_deleted_is_waited_for(late: int) -> None:
    """It is not adopted, and gone a minute later."""
    with FakeAzure(gone_after_reads=late) as azure:
        compute = azure.workspace().gpu_compute("gpu", size=SIZE)
        compute.ensure()
        ask(azure.cloud, "DELETE", "computes/gpu")
        assert compute.ensure().provisioning_state == "Succeeded"
        azure.clock.sleep(3600)
        assert azure.workspace().gpu_compute("gpu").refresh().provisioning_state == "Succeeded"


def test_a_deployment_of_another_model_is_not_replaced(
    fake_azure: FakeAzure, workspace: pf.Workspace
) -> None:
    """Somebody has put another model in its place: that is told, and neither returned nor overwritten (R12)."""
    model = trained(fake_azure, workspace)
    other = trained(fake_azure, workspace, job="other", name="others")
    endpoint = model.deploy("answers", instance_type=SIZE).deploy(other, "default", instance_type=SIZE)
    with pytest.raises(NameTaken) as caught:
        model.deploy("answers", instance_type=SIZE)
    why = f"it serves others:{other.version}, asked for was facts:{model.version}"
    assert (caught.value.resource, caught.value.why) == ("deployment default of endpoint answers", why)
    (there,) = endpoint.deployments()
    assert there.model == other.id


def test_an_endpoint_of_which_nothing_is_known_is_deleted(
    fake_azure: FakeAzure, workspace: pf.Workspace
) -> None:
    """Its answer and five looks were lost; it is deleted again, and the error says so."""
    trained(fake_azure, workspace)
    model = fake_azure.workspace(retries=NoRetries()).model("facts")
    handle = fake_azure.cloud.handle

    def lose(request: Request) -> Response:
        if request.method == "PUT":
            fake_azure.faults.next(AnswerLost(f"PUT {E}"))
            fake_azure.faults.next(AnswerLost(f"GET {E}"), times=5)
        return handle(request)

    fake_azure.cloud.handle = lose  # type: ignore[method-assign]
    with pytest.raises(OutcomeUnknown) as caught:
        model.deploy("answers", instance_type=SIZE)
    assert caught.value.costs == "nothing: endpoint answers was deleted again"
    assert fake_azure.endpoints == {}


def test_a_deployment_that_fails_unheard_is_a_failed_deployment(
    fake_azure: FakeAzure, workspace: pf.Workspace
) -> None:
    """The answer that names its operation was lost: its own state tells, and its log is read all the same."""
    trained(fake_azure, workspace)
    model = fake_azure.workspace(retries=NoRetries()).model("facts")
    fake_azure.faults.next(AnswerLost(f"PUT {D}"))
    fake_azure.faults.next(DeploymentFails(log="ImportError: no module named peft"))
    with pytest.raises(DeploymentFailed, match="Failed") as caught:
        model.deploy("answers", instance_type=SIZE)
    assert "peft" in caught.value.log_tail
    assert fake_azure.endpoints == {}


@pytest.mark.parametrize("status", [408, 500, 502, 504])
def test_an_answer_that_does_not_tell_is_looked_into(fake_azure: FakeAzure, status: int) -> None:
    """A gateway gives up on a request that the service has carried out: the endpoint is found."""
    trained(fake_azure, fake_azure.workspace())
    handle = fake_azure.cloud.handle
    refused: list[str] = []

    def give_up(request: Request) -> Response:
        answer = handle(request)
        if request.method != "PUT" or refused:
            return answer
        refused.append(request.path)
        return replace(answer, status=status)

    model = fake_azure.workspace(retries=NoRetries()).model("facts")
    fake_azure.cloud.handle = give_up  # type: ignore[method-assign]
    with model.deploy("answers", instance_type=SIZE) as endpoint:
        assert endpoint.created_here
    assert len(refused) == 1
    assert fake_azure.endpoints == {}
