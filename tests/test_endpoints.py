from __future__ import annotations

import pickle
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tuning import PROMPT, REPLY, SIZE, Heard, content, deployed, sent, trained

import phi_finetune as pf
from phi_finetune.deployments import Probe
from phi_finetune.errors import (
    ConfigurationError,
    DeadlineExceeded,
    DeploymentFailed,
    InvalidParameter,
    NameTaken,
    NotFound,
    PermissionMissing,
    QuotaExceeded,
    ServiceError,
    SizeNotAllowed,
)
from phi_finetune.events import AdoptedExisting, Created, Deleted, TrafficMoved, Waiting, Warned
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import Answer, DeploymentFails

DEPLOYMENTS = "*/deployments/*"


def spec(azure: FakeAzure) -> Any:
    """What the one request for a deployment asked for."""
    (put,) = sent(azure, "PUT", DEPLOYMENTS)
    return content(put)


@pytest.fixture
def model(fake_azure: FakeAzure, workspace: pf.Workspace) -> pf.RegisteredModel:
    """A model that can be deployed."""
    return trained(fake_azure, workspace)


# Deploying


def test_a_deployment_has_the_promised_defaults(fake_azure: FakeAzure, model: pf.RegisteredModel) -> None:
    """One machine, a key, ten minutes before the first look, 90 s for an answer, all traffic."""
    endpoint = model.deploy(instance_type=SIZE)
    assert (endpoint.auth, endpoint.traffic, endpoint.created_here) == ("key", {"default": 100}, True)
    assert endpoint.tags["made-by"] == "phi-finetune"
    body = spec(fake_azure)
    assert body["sku"]["capacity"] == 1
    properties = body["properties"]
    assert (properties["instanceType"], properties["model"]) == (SIZE, model.id)
    assert properties["requestSettings"] == {
        "requestTimeout": "PT1M30S",
        "maxConcurrentRequestsPerInstance": 1,
    }
    for probe in ("livenessProbe", "readinessProbe"):
        assert properties[probe]["initialDelay"] == "PT10M"


def test_every_setting_can_be_set(fake_azure: FakeAzure, model: pf.RegisteredModel) -> None:
    """What was given goes out as given."""
    endpoint = model.deploy(
        "answers",
        instance_type=SIZE,
        instance_count=2,
        deployment="blue",
        auth="aad_token",
        description="of the night",
        tags={"team": "nlp"},
        request_timeout=timedelta(seconds=30),
        max_concurrent_requests=4,
        liveness=Probe(initial_delay=timedelta(seconds=20), failure_threshold=7),
        readiness=Probe(
            initial_delay=timedelta(seconds=5),
            period=timedelta(seconds=6),
            timeout=timedelta(seconds=3),
            success_threshold=2,
        ),
    )
    assert (endpoint.name, endpoint.auth, endpoint.description) == ("answers", "aad_token", "of the night")
    (deployment,) = endpoint.deployments()
    assert (deployment.name, deployment.instance_count, deployment.traffic) == ("blue", 2, 100)
    body = spec(fake_azure)
    properties = body["properties"]
    assert body["tags"]["team"] == "nlp"
    assert properties["requestSettings"]["maxConcurrentRequestsPerInstance"] == 4
    assert properties["requestSettings"]["requestTimeout"] == "PT30S"
    assert properties["livenessProbe"]["failureThreshold"] == 7
    assert properties["livenessProbe"]["initialDelay"] == "PT20S"
    readiness = properties["readinessProbe"]
    assert (readiness["period"], readiness["timeout"], readiness["successThreshold"]) == ("PT6S", "PT3S", 2)


def test_traffic_waits_until_the_deployment_is_healthy(fake_azure: FakeAzure) -> None:
    """Endpoint, deployment, traffic: in that order, and each is told."""
    heard = Heard()
    deployed(fake_azure, fake_azure.workspace(on_event=heard))
    told = [type(event) for event in heard if isinstance(event, (Created, TrafficMoved))]
    assert told[-3:] == [Created, Created, TrafficMoved]
    methods = [entry.url for entry in sent(fake_azure, "PUT", "*/onlineEndpoints/*")]
    assert ["deployments" in url for url in methods] == [False, True, False]


def test_a_default_name_is_the_same_each_time(fake_azure: FakeAzure, model: pf.RegisteredModel) -> None:
    """A second call adopts what the first one made, and asks for nothing."""
    first = model.deploy(instance_type=SIZE)
    fake_azure.journal.clear()
    second = model.deploy(instance_type=SIZE)
    assert first == second
    assert (first.created_here, second.created_here) == (True, False)
    assert sent(fake_azure, "PUT", "*") == []
    assert len(first.name) <= 32


def test_another_version_has_another_endpoint(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Two models never share one by accident, and neither do two workspaces."""
    names = {trained(fake_azure, workspace, job=job).deploy(instance_type=SIZE).name for job in ("a", "b")}
    with FakeAzure() as other:
        names.add(trained(other, other.workspace(), job="a").deploy(instance_type=SIZE).name)
    assert len(names) == 3


def test_a_name_that_is_still_blocked_gives_way_to_the_next(
    fake_azure: FakeAzure, model: pf.RegisteredModel
) -> None:
    """The name of a deleted endpoint may be refused for a while; the next generation is taken."""
    fake_azure.faults.next(Answer("PUT */onlineendpoints/*", 404, "UserError", "Still being deleted."))
    endpoint = model.deploy(instance_type=SIZE)
    first, second, *_ = sent(fake_azure, "PUT", "*/onlineEndpoints/*")
    assert first.status == 404
    assert endpoint.name in second.url
    assert endpoint.name not in first.url


# What is refused beforehand


def test_the_inference_list_is_checked_first(fake_azure: FakeAzure, model: pf.RegisteredModel) -> None:
    """A size that the base model does not permit costs nothing, and lists those it does."""
    with pytest.raises(SizeNotAllowed, match="may not be deployed on Standard_NC4as_T4_v3") as caught:
        model.deploy(instance_type="Standard_NC4as_T4_v3")
    assert SIZE in caught.value.allowed
    assert fake_azure.endpoints == {}
    assert sent(fake_azure, "PUT", "*/onlineEndpoints/*") == []


@pytest.mark.parametrize("size", ["Standard_NC6s_v3", "Standard_DS3_v2", "Standard_NC999"])
def test_a_size_that_cannot_serve_is_refused(
    fake_azure: FakeAzure, workspace: pf.Workspace, size: str
) -> None:
    """Also for a model that does not say what it was tuned from."""
    model = workspace.attach(pf.RegisteredModel("unknown", "1", "azureml://x"))
    with pytest.raises(SizeNotAllowed) as caught:
        model.deploy(instance_type=size)
    assert caught.value.size == size
    assert sent(fake_azure, "PUT", "*/onlineEndpoints/*") == []


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"instance_count": 0}, "instance_count"),
        ({"instance_count": 51}, "instance_count"),
        ({"request_timeout": timedelta(0)}, "request_timeout"),
        ({"request_timeout": timedelta(seconds=181)}, "request_timeout"),
        ({"max_concurrent_requests": 0}, "max_concurrent_requests"),
        ({"deployment": "d"}, "name"),
        ({"name": "no--double"}, "name"),
        ({"name": "a" * 33}, "name"),
    ],
)
def test_a_setting_out_of_range_is_refused(
    fake_azure: FakeAzure, model: pf.RegisteredModel, settings: Any, name: str
) -> None:
    """With its name, its value and the range, before anything is made."""
    with pytest.raises(InvalidParameter) as caught:
        model.deploy(instance_type=SIZE, **settings)
    assert (caught.value.name, caught.value.value) == (name, *settings.values())
    assert caught.value.allowed
    assert sent(fake_azure, "PUT", "*/onlineEndpoints/*") == []


@pytest.mark.parametrize(
    "settings",
    [
        {"initial_delay": timedelta(0)},
        {"period": timedelta(milliseconds=1)},
        {"timeout": timedelta(0)},
        {"success_threshold": 0},
        {"failure_threshold": 0},
    ],
)
def test_a_probe_out_of_range_is_refused(settings: Any) -> None:
    """As it is made."""
    with pytest.raises(InvalidParameter) as caught:
        Probe(**settings)
    assert {caught.value.name: caught.value.value} == settings


def test_somebody_elses_name_comes_with_a_free_one(fake_azure: FakeAzure, model: pf.RegisteredModel) -> None:
    """Names are unique in a region; the error suggests one, and that one works."""
    fake_azure.reserve_endpoint_name("answers")
    with pytest.raises(NameTaken) as caught:
        model.deploy("answers", instance_type=SIZE)
    error = caught.value
    assert (error.resource, error.costs) == ("endpoint answers", "nothing: it was not created")
    assert "unique" in (error.why or "")
    assert error.suggestion
    assert error.suggestion in (error.next_call or "")
    assert model.deploy(error.suggestion, instance_type=SIZE).name == error.suggestion


def test_an_endpoint_of_another_model_is_not_taken_over(
    fake_azure: FakeAzure, workspace: pf.Workspace, model: pf.RegisteredModel
) -> None:
    """What answers with something else is left alone, and what it serves is told."""
    model.deploy("answers", instance_type=SIZE)
    other = trained(fake_azure, workspace, job="other", name="others")
    with pytest.raises(NameTaken, match=f"serves facts:{model.version}"):
        other.deploy("answers", instance_type=SIZE)
    (deployment,) = fake_azure.endpoints["answers"].deployments.values()
    assert deployment.model == model.id


def test_too_few_cores_for_a_deployment(model: pf.RegisteredModel, fake_azure: FakeAzure) -> None:
    """The service's own numbers are told, and the endpoint is gone again."""
    with pytest.raises(QuotaExceeded, match="0/96") as caught:
        model.deploy("answers", instance_type=SIZE, instance_count=5)
    assert caught.value.resource == "deployment default of endpoint answers"
    assert caught.value.costs == "nothing: endpoint answers was deleted again"
    assert fake_azure.endpoints == {}


# A deployment that fails


def test_a_failed_deployment_leaves_nothing_behind(fake_azure: FakeAzure) -> None:
    """The container's own log is told, and the endpoint that this call made is gone."""
    heard = Heard()
    model = trained(fake_azure, fake_azure.workspace(on_event=heard))
    fake_azure.faults.next(DeploymentFails(log="ImportError: no module named peft"))
    with pytest.raises(DeploymentFailed) as caught:
        model.deploy("answers", instance_type=SIZE)
    error = caught.value
    assert (error.code, error.resource) == ("ResourceNotReady", "deployment default of endpoint answers")
    assert "ImportError: no module named peft" in error.log_tail
    assert "ImportError: no module named peft" in str(error)
    assert error.costs == "nothing: endpoint answers was deleted again"
    assert fake_azure.endpoints == {}
    assert [event.resource for event in heard.of(Deleted)] == ["endpoint answers"]


def test_machines_that_are_not_had_are_a_quota(fake_azure: FakeAzure, model: pf.RegisteredModel) -> None:
    """Quota may show only while the deployment is being made."""
    fake_azure.faults.next(DeploymentFails("OutOfQuota", "Not enough quota for the machines."))
    with pytest.raises(QuotaExceeded, match="Not enough quota") as caught:
        model.deploy(instance_type=SIZE)
    assert "aka.ms/azuremlquota" in (caught.value.next_call or "")
    assert fake_azure.endpoints == {}


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_log_that_cannot_be_read_hides_no_failure(
    fake_azure: FakeAzure, model: pf.RegisteredModel, status: int
) -> None:
    """Also without the right to logs the failure is told, and that the log is missing."""
    fake_azure.faults.next(DeploymentFails())
    fake_azure.faults.next(Answer("POST */getlogs", status, "Refused", "No log."))
    with pytest.raises(DeploymentFailed, match="the log could not be read"):
        model.deploy(instance_type=SIZE)
    assert fake_azure.endpoints == {}


def test_what_could_not_be_deleted_again_is_told(fake_azure: FakeAzure) -> None:
    """The first failure goes on, and says what may still bill."""
    heard = Heard()
    model = trained(fake_azure, fake_azure.workspace(on_event=heard))
    fake_azure.faults.next(DeploymentFails())
    fake_azure.faults.next(Answer("DELETE */onlineendpoints/*", 403, "AuthorizationFailed", "No right."))
    with pytest.raises(DeploymentFailed) as caught:
        model.deploy("answers", instance_type=SIZE)
    assert caught.value.costs == "endpoint answers may still be there, and bill"
    assert "ws.endpoint('answers').delete()" in caught.value.__notes__[0]
    assert [event.resource for event in heard.of(Warned)] == ["endpoint answers"]
    assert list(fake_azure.endpoints) == ["answers"]


def test_a_refused_deployment_leaves_nothing_behind(fake_azure: FakeAzure, model: pf.RegisteredModel) -> None:
    """A request that the service refuses outright is a failed deployment as well."""
    fake_azure.faults.next(Answer("PUT */deployments/*", 400, "BadRequest", "No such environment."))
    with pytest.raises(DeploymentFailed, match="No such environment") as caught:
        model.deploy(instance_type=SIZE)
    assert caught.value.status_code == 400
    assert fake_azure.endpoints == {}


def test_waiting_for_a_deployment_has_a_limit(fake_azure: FakeAzure, model: pf.RegisteredModel) -> None:
    """What takes longer is deleted again, since this call made it."""
    with pytest.raises(DeadlineExceeded) as caught:
        model.deploy("answers", instance_type=SIZE, timeout=timedelta(minutes=5))
    assert caught.value.costs == "nothing: endpoint answers was deleted again"
    assert fake_azure.endpoints == {}


def test_an_interrupt_leaves_nothing_behind(fake_azure: FakeAzure) -> None:
    """Ctrl-C during the deployment deletes what this call made."""

    def listen(event: Any) -> None:
        if isinstance(event, Created) and event.resource.startswith("deployment"):
            raise KeyboardInterrupt

    model = trained(fake_azure, fake_azure.workspace(on_event=listen))
    with pytest.raises(KeyboardInterrupt):
        model.deploy(instance_type=SIZE)
    assert fake_azure.endpoints == {}


@pytest.mark.parametrize("error", [BrokenPipeError, SystemExit])
@pytest.mark.parametrize("kind", [Created, Waiting, TrafficMoved])
def test_an_error_of_a_listener_leaves_nothing(
    fake_azure: FakeAzure, kind: type[Any], error: type[BaseException]
) -> None:
    """Whatever ends the call, at whichever event: what it made is deleted, and the error comes through."""
    raised: list[BaseException] = []

    def listen(event: Any) -> None:
        if deploying and isinstance(event, kind) and not raised:
            raised.append(error())
            raise raised[0]

    deploying = False
    model = trained(fake_azure, fake_azure.workspace(on_event=listen))
    deploying = True
    with pytest.raises(error) as caught:
        model.deploy(instance_type=SIZE)
    assert caught.value is raised[0]
    assert fake_azure.endpoints == {}


def test_an_error_of_a_listener_leaves_no_second_deployment(fake_azure: FakeAzure) -> None:
    """The same where the endpoint stays: only the deployment that the call made is deleted."""

    def listen(event: Any) -> None:
        if isinstance(event, Created) and event.resource.startswith("deployment green"):
            raise BrokenPipeError

    model = trained(fake_azure, fake_azure.workspace(on_event=listen))
    endpoint = model.deploy(instance_type=SIZE)
    with pytest.raises(BrokenPipeError):
        endpoint.deploy(model, "green", instance_type=SIZE)
    assert [one.name for one in endpoint.deployments()] == ["default"]


# The with block


def test_leaving_the_block_deletes_what_it_made(fake_azure: FakeAzure, model: pf.RegisteredModel) -> None:
    """Also where the block raises; the error goes on."""
    with pytest.raises(ZeroDivisionError), model.deploy(instance_type=SIZE):
        raise ZeroDivisionError
    assert fake_azure.endpoints == {}
    assert len(sent(fake_azure, "DELETE", "*/onlineEndpoints/*")) == 1


def test_leaving_the_block_leaves_what_was_there(fake_azure: FakeAzure) -> None:
    """An adopted endpoint stays, and it is said that it goes on billing."""
    heard = Heard()
    endpoint = deployed(fake_azure, fake_azure.workspace(on_event=heard))
    ws = fake_azure.workspace(on_event=heard)
    with ws.model("facts").deploy(instance_type=SIZE) as adopted:
        assert adopted == endpoint
    assert list(fake_azure.endpoints) == [endpoint.name]
    (warning,) = heard.of(Warned)
    assert "goes on billing" in warning.message
    assert len(heard.of(AdoptedExisting)) == 1


def test_a_pickled_endpoint_was_created_elsewhere(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """A block around a revived copy leaves the endpoint, which belongs to who made it."""
    endpoint = deployed(fake_azure, workspace)
    with workspace.attach(pickle.loads(pickle.dumps(endpoint))) as copy:
        assert copy == endpoint
    assert list(fake_azure.endpoints) == [endpoint.name]


def test_deleting_is_seen_through(fake_azure: FakeAzure) -> None:
    """It ends when the endpoint is gone; deleting again is as good."""
    heard = Heard()
    endpoint = deployed(fake_azure, fake_azure.workspace(on_event=heard))
    endpoint.delete()
    assert fake_azure.endpoints == {}
    endpoint.delete()
    assert len(heard.of(Deleted)) == 1
    with pytest.raises(NotFound):
        endpoint.refresh()


def test_a_deletion_that_takes_too_long_says_that_it_bills(
    fake_azure: FakeAzure, workspace: pf.Workspace
) -> None:
    """The limit is kept, and the next call deletes again."""
    endpoint = deployed(fake_azure, workspace)
    with pytest.raises(DeadlineExceeded, match="costs money until it is gone"):
        endpoint.delete(timeout=timedelta(seconds=1))
    endpoint.delete()
    assert fake_azure.endpoints == {}


# Several deployments


def test_traffic_is_shifted(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """A second model takes none until it is given some; what else the endpoint has stays."""
    heard = Heard()
    ws = fake_azure.workspace(on_event=heard)
    endpoint = trained(fake_azure, ws).deploy("answers", instance_type=SIZE, description="two of them")
    other = trained(fake_azure, ws, job="other", name="others")
    both = endpoint.deploy(other, "green", instance_type=SIZE)
    assert both.traffic == {"default": 100}
    assert {one.name: one.traffic for one in both.deployments()} == {"default": 100, "green": 0}
    shifted = both.shift_traffic({"default": 80, "green": 20})
    assert shifted.traffic == {"default": 80, "green": 20}
    assert (shifted.description, shifted.tags) == (endpoint.description, endpoint.tags)
    answered = [shifted.chat(PROMPT).deployment for _ in range(10)]
    assert (answered.count("default"), answered.count("green")) == (8, 2)
    assert shifted.chat(PROMPT, deployment="green").deployment == "green"
    assert heard.of(TrafficMoved)[-1].traffic == {"default": 80, "green": 20}
    assert shifted.created_here


def test_traffic_can_be_taken_away(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """None for all is allowed."""
    endpoint = deployed(fake_azure, workspace).shift_traffic({"default": 0})
    assert endpoint.traffic == {}


@pytest.mark.parametrize("traffic", [{"default": 90}, {"default": 120, "green": -20}, {"default": 101}])
def test_traffic_must_add_up(fake_azure: FakeAzure, workspace: pf.Workspace, traffic: Any) -> None:
    """Shares that do not are refused before they are sent."""
    endpoint = deployed(fake_azure, workspace)
    fake_azure.journal.clear()
    with pytest.raises(InvalidParameter) as caught:
        endpoint.shift_traffic(traffic)
    assert (caught.value.name, caught.value.value) == ("traffic", traffic)
    assert len(fake_azure.journal) == 0


def test_traffic_to_nobody_is_refused_by_the_service(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """A deployment that does not exist gets none, and the service's words are told."""
    with pytest.raises(ServiceError, match="green"):
        deployed(fake_azure, workspace).shift_traffic({"green": 100})


def test_a_second_deployment_is_checked_as_well(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """The base model's inference list holds for it too."""
    endpoint = deployed(fake_azure, workspace)
    with pytest.raises(SizeNotAllowed):
        endpoint.deploy(workspace.model("facts"), "green", instance_type="Standard_NC4as_T4_v3")


def test_a_second_deployment_that_fails_spares_the_first(
    fake_azure: FakeAzure, workspace: pf.Workspace
) -> None:
    """The endpoint goes on answering with what it had, and the failed one is gone: it would hold machines."""
    endpoint = deployed(fake_azure, workspace)
    fake_azure.faults.next(DeploymentFails())
    with pytest.raises(DeploymentFailed) as caught:
        endpoint.deploy(workspace.model("facts"), "green", instance_type=SIZE)
    assert caught.value.costs == f"nothing: deployment green of endpoint {endpoint.name} was deleted again"
    assert [deployment.name for deployment in endpoint.deployments()] == ["default"]
    assert endpoint.refresh().traffic == {"default": 100}
    assert endpoint.chat(PROMPT).text == REPLY


def test_a_failed_deployment_that_cannot_be_deleted_is_told(
    fake_azure: FakeAzure, workspace: pf.Workspace
) -> None:
    """The error is still the deployment's own; a note says what may bill, and the call that ends it."""
    endpoint = deployed(fake_azure, workspace)
    fake_azure.faults.next(DeploymentFails())
    fake_azure.faults.next(Answer("DELETE */deployments/green", 403))
    with pytest.raises(DeploymentFailed) as caught:
        endpoint.deploy(workspace.model("facts"), "green", instance_type=SIZE)
    assert caught.value.costs is not None
    assert "may still be there" in caught.value.costs
    assert f"ws.endpoint({endpoint.name!r}).delete_deployment('green')" in caught.value.__notes__[0]


def test_an_update_that_fails_spares_what_takes_traffic(
    fake_azure: FakeAzure, workspace: pf.Workspace
) -> None:
    """A deployment that was there, and has the traffic, is not deleted because its update failed."""
    endpoint = deployed(fake_azure, workspace)
    fake_azure.faults.next(Answer("PUT */deployments/default", 400, "BadArgument"))
    with pytest.raises(DeploymentFailed) as caught:
        endpoint.deploy(workspace.model("facts"), "default", instance_type=SIZE, instance_count=2)
    assert caught.value.costs is None
    assert [deployment.name for deployment in endpoint.deployments()] == ["default"]


def test_a_deployment_is_deleted(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """It is gone and told; what takes traffic is refused; what is absent is as good as deleted."""
    heard = Heard()
    name = deployed(fake_azure, workspace).name
    endpoint = fake_azure.workspace(on_event=heard).endpoint(name)
    endpoint = endpoint.deploy(workspace.model("facts"), "green", instance_type=SIZE)
    assert [one.name for one in endpoint.delete_deployment("green").deployments()] == ["default"]
    assert [event.resource for event in heard.of(Deleted)] == [f"deployment green of endpoint {name}"]
    endpoint.delete_deployment("green")
    assert len(heard.of(Deleted)) == 1
    with pytest.raises(ServiceError, match="default"):
        endpoint.delete_deployment("default")


# Logs and keys


def test_both_containers_have_logs(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """The one that answers, and the one that fetches the model first."""
    endpoint = deployed(fake_azure, workspace)
    assert "Server is ready" in endpoint.logs()
    assert "Downloading model" in endpoint.logs(container="storage-initializer")
    assert "Downloading model" not in endpoint.logs()
    assert "Loading model" not in endpoint.logs(lines=1)
    with pytest.raises(NotFound, match="green"):
        endpoint.logs("green")


def test_keys_are_given_and_not_shown(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Neither repr nor a pickle holds one."""
    endpoint = deployed(fake_azure, workspace)
    keys = endpoint.keys()
    assert {keys.primary, keys.secondary} == set(fake_azure.endpoints[endpoint.name].keys.values())
    assert keys.primary not in repr(keys)
    assert keys.secondary not in repr(keys)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(keys)
    endpoint.chat(PROMPT)
    assert keys.primary.encode() not in pickle.dumps(endpoint)


def test_an_endpoint_with_entra_tokens_has_no_keys(fake_azure: FakeAzure, model: pf.RegisteredModel) -> None:
    """Asking for them is answered here."""
    endpoint = model.deploy(instance_type=SIZE, auth="aad_token")
    with pytest.raises(ConfigurationError, match="has no keys"):
        endpoint.keys()
    assert sent(fake_azure, "POST", "*/listKeys") == []


def test_a_missing_right_names_the_action(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """The service's own words say which right is missing."""
    endpoint = deployed(fake_azure, workspace)
    action = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/listKeys/action"
    message = f"The client does not have authorization to perform action '{action}' over scope."
    fake_azure.faults.next(Answer("POST */listkeys", 403, "AuthorizationFailed", message))
    with pytest.raises(PermissionMissing) as caught:
        endpoint.keys()
    assert action in (caught.value.next_call or "")


def test_a_request_file_is_written_whole(
    fake_azure: FakeAzure, workspace: pf.Workspace, tmp_path: Path
) -> None:
    """It replaces one that was there, and nothing else is left beside it."""
    path = tmp_path / "request.json"
    for text in ("first", PROMPT):
        assert pf.write_request(text, path) == path
    assert [file.name for file in tmp_path.iterdir()] == ["request.json"]
    assert deployed(fake_azure, workspace).score(path) == {"output": REPLY}
