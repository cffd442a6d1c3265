"""Answers that are lost, cut, or of another form: typed errors, and never a raw one."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from tuning import SIZE, Heard, data, deployed, finetune, sent, trained

import phi_finetune as pf
from phi_finetune._azure.translate import azure_ai_ml_errors
from phi_finetune.errors import (
    ConfigurationError,
    InvalidParameter,
    NotFound,
    OutcomeUnknown,
    PermissionMissing,
    PhiFinetuneError,
    ServiceError,
    ServiceUnreachable,
    UnexpectedAnswer,
)
from phi_finetune.events import AdoptedExisting, Event, RequestRetried, Uploaded, Warned
from phi_finetune.retries import NoRetries
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import Answer, AnswerLost, HalfBody, Unreachable

JOB_PUT = "PUT */jobs/*"


def loud(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What Python would print of azure-core's records on the screen where no logging is set up."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("azure.core") and record.levelno >= logging.WARNING
    ]


# A submission whose answer does not come


def test_a_job_whose_answer_was_lost_is_found(fake_azure: FakeAzure) -> None:
    """It was accepted and the answer lost; looking finds it, and it is not sent again."""
    workspace = fake_azure.workspace(retries=NoRetries())
    fake_azure.faults.next(AnswerLost(JOB_PUT))
    job = finetune(workspace).submit()
    assert list(fake_azure.jobs) == [job.name]
    assert len(sent(fake_azure, "PUT", "*/jobs/*")) == 1


@pytest.mark.parametrize("how", ["half-json", "cut"])
def test_a_job_whose_answer_came_by_half_is_found(
    fake_azure: FakeAzure, how: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """azure-core says that its answer, 201, is an error; it is none of the service's, so the job is looked for."""
    workspace = fake_azure.workspace(retries=NoRetries())
    fake_azure.faults.next(HalfBody(JOB_PUT, how))
    job = finetune(workspace).submit()
    assert list(fake_azure.jobs) == [job.name]
    assert len(sent(fake_azure, "PUT", "*/jobs/*")) == 1
    assert loud(caplog) == []


@pytest.mark.parametrize(("how", "kind"), [("half-json", UnexpectedAnswer), ("cut", ServiceUnreachable)])
def test_half_an_answer_is_no_refusal(fake_azure: FakeAzure, how: Any, kind: type[PhiFinetuneError]) -> None:
    """Where azure-ai-ml meets half of an answer, the error does not say that the service refused anything."""
    client = fake_azure.workspace(retries=NoRetries())._handle().ml_client()
    fake_azure.faults.next(HalfBody("GET */workspaces/phi-lab", how))
    with pytest.raises(kind) as caught, azure_ai_ml_errors(doing="look", resource="workspace"):
        client.workspaces.get("phi-lab")
    assert caught.value.status_code in (None, 200)
    assert caught.value.next_call == "call again"


def test_a_body_that_is_cut_is_said_once(fake_azure: FakeAzure, caplog: pytest.LogCaptureFixture) -> None:
    """As an event; azure-core's own warning, which Python prints where no logging is set up, is not shown."""
    heard = Heard()
    fake_azure.faults.next(HalfBody("GET */workspaces/phi-lab/jobs", "cut"))
    assert fake_azure.workspace(on_event=heard).jobs() == ()
    assert [event.why for event in heard.of(RequestRetried)] == ["IncompleteReadError"]
    assert loud(caplog) == []


def test_a_job_that_was_never_sent_is_an_error(fake_azure: FakeAzure) -> None:
    """Nothing listened; the look after it finds no job, so the error is the connection's own."""
    workspace = fake_azure.workspace(retries=NoRetries())
    fake_azure.faults.next(Unreachable(JOB_PUT))
    with pytest.raises(ServiceUnreachable):
        finetune(workspace).submit()
    assert dict(fake_azure.jobs) == {}


def test_an_unknown_outcome_says_so_and_is_found_later(fake_azure: FakeAzure) -> None:
    """Where five looks are lost too, the error says what may be running; submitting again finds it."""

    def lose_what_follows(event: Event) -> None:
        if isinstance(event, Uploaded) and event.resource == "file train.jsonl":
            fake_azure.faults.next(AnswerLost(JOB_PUT))
            fake_azure.faults.next(Unreachable("GET */jobs/*"), times=5)

    workspace = fake_azure.workspace(retries=NoRetries(), on_event=lose_what_follows)
    with pytest.raises(OutcomeUnknown) as caught:
        finetune(workspace).submit()
    assert caught.value.costs == "the job may be running"
    (name,) = fake_azure.jobs
    assert finetune(fake_azure.workspace()).submit().name == name
    assert len(fake_azure.jobs) == 1


def test_an_endpoint_whose_answer_was_lost_is_used(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """The endpoint is there with our tag, so it is ours, and deleted at the end."""
    trained(fake_azure, workspace)
    model = fake_azure.workspace(retries=NoRetries()).model("facts")
    fake_azure.faults.next(AnswerLost("PUT */onlineEndpoints/*"))
    with model.deploy(instance_type=SIZE) as endpoint:
        assert endpoint.created_here
    assert workspace.endpoints() == ()


def test_an_endpoint_that_an_earlier_run_began_is_finished_and_owned(
    fake_azure: FakeAzure, workspace: pf.Workspace
) -> None:
    """It has no deployment, so all that bills is made by this call, which takes it away again."""
    model = trained(fake_azure, workspace)
    fake_azure.faults.next(Answer("PUT */deployments/*", 500), times=5)
    fake_azure.faults.next(Answer("DELETE */onlineEndpoints/*", 403))
    with pytest.raises(ServiceError):
        model.deploy(instance_type=SIZE)
    (name,) = fake_azure.endpoints
    with model.deploy(instance_type=SIZE) as endpoint:
        assert (endpoint.name, endpoint.created_here) == (name, True)
    assert workspace.endpoints() == ()


def test_an_adopted_endpoint_that_differs_is_told(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """It is left as it is, and each difference is heard."""
    deployed(fake_azure, workspace)
    heard = Heard()
    model = fake_azure.workspace(on_event=heard).model("facts")
    endpoint = model.deploy(instance_type=SIZE, instance_count=2, auth="aad_token")
    assert not endpoint.created_here
    assert len(heard.of(AdoptedExisting)) == 1
    told = [event.message for event in heard.of(Warned)]
    assert told == [
        "it was left as it is: auth is key, asked for was aad_token",
        "it was left as it is: instance_count is 1, asked for was 2",
    ]


# What Azure refuses, and why


def test_a_right_that_lacks_is_named_whatever_was_attempted(
    fake_azure: FakeAzure, workspace: pf.Workspace
) -> None:
    """The caller's advice is for what is absent; of a missing right the service's own words say more."""
    message = "does not have authorization to perform action 'Microsoft.X/jobs/read' over scope"
    fake_azure.faults.next(Answer("GET */jobs/*", 403, "AuthorizationFailed", message))
    with pytest.raises(PermissionMissing) as caught:
        workspace.job("tune")
    assert caught.value.next_call == "ask for the action Microsoft.X/jobs/read on the workspace"


def test_a_bad_request_is_to_be_mended(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Calling again would be refused again."""
    fake_azure.faults.next(Answer("GET */jobs*", 400, "UserError", "the filter is wrong"))
    with pytest.raises(ServiceError, match="the filter is wrong") as caught:
        workspace.jobs()
    assert caught.value.next_call == "mend what the message names, and call again"


def test_a_blob_stores_code_is_told(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """It comes in a header, and names a role of the storage account."""
    fake_azure.faults.next(Answer("PUT *.blob.core.windows.net*", 403, "AuthorizationPermissionMismatch"))
    with pytest.raises(PermissionMissing, match="AuthorizationPermissionMismatch") as caught:
        finetune(workspace).submit()
    assert "Storage Blob Data Contributor" in (caught.value.next_call or "")


def test_what_kind_of_silence_it_was_is_told(fake_azure: FakeAzure) -> None:
    """The kinds of errors that led to it, without their texts, which may hold a signature."""
    fake_azure.faults.next(Unreachable("GET */jobs*"))
    with pytest.raises(ServiceUnreachable) as caught:
        fake_azure.workspace(retries=NoRetries()).jobs()
    assert "ServiceRequestError, from " in (caught.value.why or "")


DELETIONS: dict[str, Callable[[pf.Workspace], object]] = {
    "cluster": lambda workspace: workspace.gpu_compute("gpu").delete(),
    "endpoint": lambda workspace: workspace.attach(pf.Endpoint("endpoint", "https://e/")).delete(),
}


@pytest.mark.parametrize("delete", DELETIONS.values(), ids=DELETIONS)
def test_a_mistyped_workspace_is_no_deletion(
    fake_azure: FakeAzure, delete: Callable[[pf.Workspace], object]
) -> None:
    """A 404 of the workspace says nothing of what is in the right one."""
    wrong = pf.Workspace.connect(
        subscription_id=fake_azure.subscription_id,
        resource_group=fake_azure.resource_group,
        workspace_name="mistyped",
        credential=fake_azure.credential,
    )
    with pytest.raises(NotFound, match="Could not find the workspace"):
        delete(wrong)


# What is refused before it is sent


@pytest.mark.parametrize(
    "parameters",
    [
        {"mlflow_model_path": "azureml://registries/azureml/models/Phi-3-mini-4k-instruct/versions/13"},
        {"compute_finetune": "serverless"},
        {"instance_type_finetune": "Standard_NC6"},
        {"train_file_path": "other.jsonl"},
    ],
    ids=lambda parameters: next(iter(parameters)),
)
def test_what_is_said_elsewhere_is_no_parameter(
    workspace: pf.Workspace, parameters: pf.ParameterValues
) -> None:
    """Model, data and compute are checked where they are named; as parameters they would pass by the checks."""
    with pytest.raises(InvalidParameter, match="is not set as a parameter") as caught:
        workspace.foundation_model("Phi-4").finetune(data()).with_parameters(**parameters)
    assert (caught.value.next_call or "").startswith("choose the")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"num_train_epochs": 1}, {"num_train_epochs": 1.0}),
        ({"apply_lora": True}, {"apply_lora": "true"}),
        ({"learning_rate": 1}, {"learning_rate": 1.0}),
    ],
)
def test_what_means_the_same_is_the_same_job(
    workspace: pf.Workspace, one: pf.ParameterValues, other: pf.ParameterValues
) -> None:
    """One intent has one name, however a number or a flag is written."""
    assert finetune(workspace, one).job_name() == finetune(workspace, other).job_name()


def test_settings_add_up(workspace: pf.Workspace) -> None:
    """What is set later leaves what was set before."""
    tune = finetune(workspace).with_settings(experiment="e", tags={"a": "1"}, force_rerun=True)
    settings = tune.with_settings(description="d", tags={"b": "2"}).settings
    assert (settings.experiment, settings.description, settings.force_rerun) == ("e", "d", True)
    assert settings.tags == {"a": "1", "b": "2"}
    with pytest.raises(InvalidParameter, match="no text"):
        tune.with_settings(tags={"a": 1})  # type: ignore[dict-item]


def test_serverless_compute_has_nothing_to_change(workspace: pf.Workspace) -> None:
    """It is Azure's to bring and take away."""
    compute = workspace.attach(pf.GpuCompute.serverless(SIZE))
    for verb in (compute.refresh, compute.delete, lambda: compute.scale(max_nodes=2)):
        with pytest.raises(ConfigurationError, match="Serverless compute cannot"):
            verb()


@pytest.mark.parametrize(
    "name", ["Phi-4:8", "azureml:Phi-4:8", "azureml://registries/azureml/models/Phi-4/labels/latest"]
)
def test_a_model_is_named_in_many_ways(workspace: pf.Workspace, name: str) -> None:
    """As people paste them."""
    assert workspace.foundation_model(name).id.endswith("/models/Phi-4/versions/8")


def test_a_bad_name_or_way_of_signing_in_is_refused_here(
    fake_azure: FakeAzure, workspace: pf.Workspace
) -> None:
    """Before anything is sent."""
    model = trained(fake_azure, workspace)
    before = len(fake_azure.journal)
    with pytest.raises(InvalidParameter, match="no name for a model"):
        workspace.job("tune").register("a b")
    with pytest.raises(InvalidParameter, match="aad_token"):
        model.deploy(instance_type=SIZE, auth="token")  # type: ignore[arg-type]
    assert not any(entry.method == "PUT" for entry in fake_azure.journal[before:])


# Blocks, copies and logs


def test_a_blocks_own_error_is_the_one_that_leaves_it(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Where the deletion fails as well, a note on it says what may bill."""
    model = trained(fake_azure, workspace)
    endpoint = model.deploy(instance_type=SIZE)
    fake_azure.faults.next(Answer("DELETE */onlineEndpoints/*", 403))
    with pytest.raises(KeyError) as caught, endpoint:
        raise KeyError("mine")
    (note,) = caught.value.__notes__
    assert f"ws.endpoint({endpoint.name!r}).delete()" in note


def test_a_copy_keeps_its_workspace(workspace: pf.Workspace) -> None:
    """A copy in the same process is as good as what it was made of; only a pickle loses the connection."""
    assert copy.copy(workspace).jobs() == ()
    assert copy.deepcopy(workspace).jobs() == ()


def test_another_workspace_is_not_attached(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """It would go on saying its own ids."""
    other = pf.Workspace(workspace.subscription_id, workspace.resource_group, "other")
    with pytest.raises(ConfigurationError, match="Another workspace"):
        workspace.attach(other)


def test_a_plan_can_be_hashed(workspace: pf.Workspace) -> None:
    """As every frozen value can."""
    plan = finetune(workspace).plan()
    assert {plan: 1}[plan] == 1


def test_signatures_are_kept_out_of_the_log(
    fake_azure: FakeAzure, workspace: pf.Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    """What urllib3 logs of a request is logged without its signature."""
    caplog.set_level(logging.DEBUG)
    workspace.jobs()
    from phi_finetune._azure.transport import _discreet

    log = logging.getLogger("urllib3.connectionpool")
    with _discreet():
        log.debug(
            '%s://%s:%s "%s %s %s" %s %s',
            "https",
            "a",
            443,
            "GET",
            "/c?sv=1&sig=SECRET&x=1",
            "HTTP/1.1",
            200,
            1,
        )
    assert "/c?sv=1&sig=" in caplog.text
    assert "SECRET" not in caplog.text


PROBES: dict[str, Callable[[pf.Workspace], object]] = {
    "jobs": lambda workspace: workspace.jobs(),
    "models": lambda workspace: workspace.models(),
    "endpoints": lambda workspace: workspace.endpoints(),
    "gpu_skus": lambda workspace: workspace.gpu_skus(),
    "foundation_model": lambda workspace: workspace.foundation_model("Phi-4"),
    "plan": lambda workspace: finetune(workspace).plan(),
    "submit": lambda workspace: finetune(workspace).submit(),
    "ensure": lambda workspace: workspace.gpu_compute("gpu", size=SIZE).ensure(),
}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 429, 500])
@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)
def test_no_refusal_comes_out_raw(
    fake_azure: FakeAzure, probe: Callable[[pf.Workspace], object], status: int
) -> None:
    """Whichever request of a verb is refused, in whichever way, the error is one of ours."""
    probe(fake_azure.workspace(retries=NoRetries()))
    for number in range(len(fake_azure.journal)):
        with FakeAzure() as azure, suppress(PhiFinetuneError):
            _refuse(azure, number, status)
            probe(azure.workspace(retries=NoRetries()))


def _refuse(azure: FakeAzure, number: int, status: int) -> None:
    """Let the request of this number, counted from 0, be refused; a 401 twice, as a new token follows the first."""
    handle, seen = azure.cloud.handle, 0

    def counted(request: object) -> object:
        nonlocal seen
        if number <= seen < number + (2 if status == 401 else 1):
            azure.faults.next(Answer("* *", status))
        seen += 1
        return handle(request)  # type: ignore[arg-type]

    azure.cloud.handle = counted  # type: ignore[method-assign, assignment]


def test_half_an_answer_to_a_read_is_asked_for_again(fake_azure: FakeAzure) -> None:
    """It says that it is JSON and cannot be read as such: as good as none. With no tries left it is told."""
    fake_azure.faults.next(HalfBody("GET */jobs*", how="half-json"))
    assert fake_azure.workspace().jobs() == ()
    fake_azure.faults.next(HalfBody("GET */jobs*", how="half-json"))
    with pytest.raises(UnexpectedAnswer):
        fake_azure.workspace(retries=NoRetries()).jobs()


def test_half_an_answer_to_a_named_write_is_written_again(
    fake_azure: FakeAzure, workspace: pf.Workspace
) -> None:
    """The model was registered and the answer came by half; written again it is the same version."""
    job = finetune(workspace).submit().wait()
    fake_azure.faults.next(HalfBody("PUT */models/*", how="half-json"))
    job.register("tuned")
    assert [version.version for version in fake_azure.models["tuned"]] == [job.model_version()]


def test_a_signature_that_is_refused_is_asked_for_anew(fake_azure: FakeAzure) -> None:
    """Once; a second refusal is told."""
    workspace = fake_azure.workspace(retries=NoRetries())
    fake_azure.faults.next(Answer("PUT *.blob.core.windows.net*", 401, "AuthenticationFailed"))
    finetune(workspace).submit()
    assert len(sent(fake_azure, "POST", "*/listSecrets")) == 2
