from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from azure.ai.ml.entities import (
    KubernetesOnlineDeployment,
    ManagedOnlineDeployment,
    ManagedOnlineEndpoint,
    OnlineRequestSettings,
    ProbeSettings,
)
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from service_doors import Door
from watched_client import WatchedClient

pytestmark = pytest.mark.costs

SIZE = "Standard_NC24ads_A100_v4"
ASKED = {"input_data": {"input_string": [{"role": "user", "content": "Name a river."}], "parameters": {}}}


def deployment(door: Door, endpoint: str, name: str = "blue") -> ManagedOnlineDeployment:
    """What is asked for: Phi-4 of the registry on one machine."""
    return ManagedOnlineDeployment(
        name=name,
        endpoint_name=endpoint,
        model=door.registry.models.get("Phi-4", label="latest").id,
        instance_type=SIZE,
        instance_count=1,
        request_settings=OnlineRequestSettings(request_timeout_ms=90_000),
        liveness_probe=ProbeSettings(initial_delay=600),
    )


@pytest.fixture(scope="module")
def endpoint(door: Door, unique: Callable[[str], str]) -> Iterator[str]:
    """An endpoint with one deployment, ``blue``, that takes all traffic; both are deleted in the end."""
    endpoints, name = door.workspace.online_endpoints, unique("d")
    try:
        made = endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=name)).result()
        door.workspace.online_deployments.begin_create_or_update(deployment(door, name)).wait()
        made.traffic = {"blue": 100}
        endpoints.begin_create_or_update(made).wait()
        yield name
    finally:
        endpoints.begin_delete(name).wait()


@pytest.fixture
def request_file(tmp_path: Path) -> str:
    """A question, in a file."""
    path = tmp_path / "request.json"
    path.write_text(json.dumps(ASKED))
    return str(path)


@pytest.mark.operation("online_deployments.get", "online_deployments.list")
def test_get_and_list(ml: WatchedClient, endpoint: str) -> None:
    """A deployment is what was asked for, with what the service fills in (service.md)."""
    found = ml.online_deployments.get("blue", endpoint)
    assert (found.name, found.endpoint_name, found.provisioning_state) == ("blue", endpoint, "Succeeded")
    assert (found.instance_type, found.instance_count) == (SIZE, 1)
    assert found.request_settings.request_timeout_ms == 90_000
    assert found.liveness_probe.initial_delay == 600
    assert found.readiness_probe.failure_threshold > 0
    assert [one.name for one in ml.online_deployments.list(endpoint)] == ["blue"]


@pytest.mark.operation("online_deployments.begin_create_or_update:ManagedOnlineDeployment")
def test_update(ml: WatchedClient, door: Door, endpoint: str) -> None:
    """Tags change while it goes on."""
    wanted = deployment(door, endpoint)
    wanted.tags = {"a": "b"}
    ml.online_deployments.begin_create_or_update(wanted).wait()
    assert ml.online_deployments.get("blue", endpoint).tags["a"] == "b"


@pytest.mark.operation("online_deployments.begin_create_or_update:ManagedOnlineDeployment")
def test_a_model_that_there_is_not_is_refused(ml: WatchedClient, door: Door, endpoint: str) -> None:
    """The service looks the model up; the client does not (wire.md 9)."""
    wanted = deployment(door, endpoint, "red")
    wanted.model = "azureml:pf-no-such-model:1"
    with pytest.raises(HttpResponseError):
        ml.online_deployments.begin_create_or_update(wanted).result()


@pytest.mark.operation("online_deployments.get_logs")
def test_logs(ml: WatchedClient, endpoint: str) -> None:
    """Both containers have a log."""
    assert ml.online_deployments.get_logs("blue", endpoint, lines=50)
    assert ml.online_deployments.get_logs("blue", endpoint, lines=50, container_type="storage-initializer")


@pytest.mark.operation("online_endpoints.invoke", partial="The words of an answer say nothing about Phi.")
def test_invoke(ml: WatchedClient, endpoint: str, request_file: str) -> None:
    """The endpoint answers in the shape of a chat model, by its traffic and by a deployment's name."""
    for name in (None, "blue"):
        answer = ml.online_endpoints.invoke(endpoint, request_file=request_file, deployment_name=name)
        assert isinstance(json.loads(answer)["output"], str)


@pytest.mark.operation("online_deployments.begin_delete")
def test_what_takes_traffic_is_not_deleted(ml: WatchedClient, endpoint: str) -> None:
    """Its traffic must go first; what is not there is deleted without an error (wire.md 9)."""
    with pytest.raises(HttpResponseError):
        ml.online_deployments.begin_delete("blue", endpoint).result()
    assert ml.online_endpoints.get(endpoint).traffic == {"blue": 100}
    ml.online_deployments.begin_delete("nobody", endpoint).wait()


@pytest.mark.operation(
    "online_deployments.begin_create_or_update:ManagedOnlineDeployment", "online_deployments.begin_delete"
)
def test_create_and_delete(ml: WatchedClient, door: Door, endpoint: str) -> None:
    """A second deployment is there beside the first until it is deleted, and takes no traffic."""
    made = ml.online_deployments.begin_create_or_update(deployment(door, endpoint, "green")).result()
    assert made.provisioning_state == "Succeeded"
    assert ml.online_endpoints.get(endpoint).traffic.get("green", 0) == 0
    ml.online_deployments.begin_delete("green", endpoint).wait()
    with pytest.raises(ResourceNotFoundError):
        ml.online_deployments.get("green", endpoint)


@pytest.mark.operation("online_deployments.get")
def test_a_missing_one_is_not_found(ml: WatchedClient, endpoint: str) -> None:
    """It is a 404."""
    with pytest.raises(ResourceNotFoundError):
        ml.online_deployments.get("nobody", endpoint)


@pytest.mark.refused(
    "online_deployments.begin_create_or_update:KubernetesOnlineDeployment",
    what="online deployments on Kubernetes",
)
def test_kubernetes_stays_out(ml: WatchedClient, door: Door, endpoint: str) -> None:
    """A deployment on a cluster of one's own is not emulated."""
    assert door.cloud is not None
    wanted = KubernetesOnlineDeployment(name="kube", endpoint_name=endpoint, model="azureml:m:1")
    with pytest.raises(HttpResponseError, match="no online deployments on Kubernetes") as refused:
        ml.online_deployments.begin_create_or_update(wanted)
    assert refused.value.status_code == 501
    door.cloud.unrouted.clear()
