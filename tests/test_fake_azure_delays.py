"""What a FakeAzure shows late, and what it does not give at once: new things, traffic, the names of endpoints."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from asking import ask
from azure.ai.ml.entities import ManagedOnlineEndpoint
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from making import put_component, put_environment
from online import D, E, deployed, put_deployment, put_endpoint, state, wait
from pipelines import start
from tuning import PROMPT, REPLY, SIZE, trained

from phi_finetune.emulator.cloud import Cloud, Settings
from phi_finetune.testing import FakeAzure

REST = timedelta(hours=2)


@pytest.fixture
def slow() -> Cloud:
    """A cloud whose new things are not there for two reads."""
    return Cloud(Settings(visible_after_reads=2))


def statuses(cloud: Cloud, path: str, times: int = 4) -> list[int]:
    """The statuses of so many reads."""
    return [ask(cloud, "GET", path).status for _ in range(times)]


def make_endpoint(cloud: Cloud) -> str:
    """Begin to make an endpoint; its path."""
    put_endpoint(cloud)
    return E


def make_deployment(cloud: Cloud) -> str:
    """Begin to make a deployment; its path."""
    wait(cloud, put_endpoint(cloud))
    assert put_deployment(cloud).status == 201
    return D


def make_cluster(cloud: Cloud) -> str:
    """Begin to make a cluster; its path."""
    sent = {"vmSize": SIZE, "vmPriority": "Dedicated", "scaleSettings": {"maxNodeCount": 1}}
    body = {"location": "eastus", "properties": {"computeType": "AmlCompute", "properties": sent}}
    assert ask(cloud, "PUT", "computes/gpu", body).status == 201
    return "computes/gpu"


def make_job(cloud: Cloud) -> str:
    """Submit a job; its path."""
    start(cloud)
    return "jobs/tune"


def make_model(cloud: Cloud) -> str:
    """Register a version of a model; its path."""
    cloud.storage.put("models/m/weights.bin", b"0")
    uri = "azureml://datastores/workspaceblobstore/paths/models/m"
    body = {"properties": {"modelUri": uri, "modelType": "custom_model"}}
    assert ask(cloud, "PUT", "models/m/versions/1", body).status == 201
    return "models/m/versions/1"


def make_data(cloud: Cloud) -> str:
    """Register a version of a data asset; its path."""
    body = {"properties": {"dataUri": "https://example.com/a.csv", "dataType": "uri_file"}}
    assert ask(cloud, "PUT", "data/m/versions/1", body).status == 201
    return "data/m/versions/1"


def make_environment(cloud: Cloud) -> str:
    """Make a version of an environment; its path."""
    assert put_environment(cloud, "m").status == 201
    return "environments/m/versions/1"


def make_component(cloud: Cloud) -> str:
    """Make a version of a component; its path."""
    put_environment(cloud)
    assert put_component(cloud, "m").status == 201
    return "components/m/versions/1"


MAKERS = (
    make_endpoint,
    make_deployment,
    make_cluster,
    make_job,
    make_model,
    make_data,
    make_environment,
    make_component,
)


# Visibility


@pytest.mark.parametrize("make", MAKERS)
def test_new_things_are_not_there_at_first(slow: Cloud, make: Callable[[Cloud], str]) -> None:
    """The first two reads do not find what was made, in the words of what was never there."""
    path = make(slow)
    absent = ask(Cloud(), "GET", path)
    # The name of an asset has its case; Azure Resource Manager takes the rest of a path in any.
    first = ask(slow, "GET", path.upper().replace("/M/", "/m/"))
    assert first.status == absent.status == 404
    if absent.body:
        assert first.code == absent.code
    assert statuses(slow, path) == [404, 200, 200, 200]


@pytest.mark.parametrize("make", MAKERS)
def test_by_default_new_things_are_there(make: Callable[[Cloud], str]) -> None:
    """The first read finds them."""
    cloud = Cloud()
    assert statuses(cloud, make(cloud), 1) == [200]


def test_changes_and_lists_are_not_late(slow: Cloud) -> None:
    """Who asks otherwise knows of a new endpoint, and a change of it hides it no more."""
    wait(slow, put_endpoint(slow))
    assert [one["name"] for one in ask(slow, "GET", "onlineEndpoints").body["value"]] == ["phi-test"]
    assert statuses(slow, E) == [404, 404, 200, 200]
    assert put_endpoint(slow, description="another").status == 200
    assert statuses(slow, E, 1) == [200]


def test_what_is_made_anew_is_late_anew(slow: Cloud) -> None:
    """A second thing of the same name is a new one."""
    wait(slow, put_endpoint(slow))
    assert statuses(slow, E) == [404, 404, 200, 200]
    wait(slow, ask(slow, "DELETE", E))
    wait(slow, put_endpoint(slow))
    assert statuses(slow, E) == [404, 404, 200, 200]


def test_the_real_client_reads_too_early() -> None:
    """It reads what it has made once, as soon as the operation is done, and takes 404 for an answer."""
    with FakeAzure(visible_after_reads=1) as azure:
        client = azure.ml_client()
        making = client.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="phi-test"))
        with pytest.raises(HttpResponseError, match="not found") as caught:
            making.result()
        assert caught.value.status_code == 404
        assert client.online_endpoints.get("phi-test").provisioning_state == "Succeeded"


# What is gone


DELETABLE = (make_endpoint, make_deployment, make_cluster)


@pytest.mark.parametrize("make", DELETABLE)
def test_what_is_gone_is_still_shown_at_first(make: Callable[[Cloud], str]) -> None:
    """Two reads after the end of a deletion show it as it was meanwhile; who asks otherwise knows."""
    cloud = Cloud(Settings(gone_after_reads=2))
    path = make(cloud)
    wait(cloud, ask(cloud, "DELETE", path))
    assert ask(cloud, "DELETE", path).status == 204
    assert state(cloud, path) == "Deleting"
    assert statuses(cloud, path.upper(), 3) == [200, 404, 404]


@pytest.mark.parametrize("make", DELETABLE)
def test_by_default_what_is_gone_is_not_there(make: Callable[[Cloud], str]) -> None:
    """The first read does not find it."""
    cloud = Cloud()
    path = make(cloud)
    wait(cloud, ask(cloud, "DELETE", path))
    assert statuses(cloud, path, 1) == [404]


def test_what_is_made_anew_is_not_taken_for_what_is_gone() -> None:
    """A second thing of the same name is shown as it is, and once it is deleted too, as it was then."""
    cloud = Cloud(Settings(gone_after_reads=5))
    wait(cloud, put_endpoint(cloud))
    wait(cloud, ask(cloud, "DELETE", E))
    assert state(cloud, E) == "Deleting"
    wait(cloud, put_endpoint(cloud))
    assert state(cloud, E) == "Succeeded"
    wait(cloud, ask(cloud, "DELETE", E))
    assert statuses(cloud, E, 6) == [200] * 5 + [404]


def test_what_was_never_there_is_not_shown() -> None:
    """Only a deletion leaves something to show."""
    cloud = Cloud(Settings(gone_after_reads=2))
    assert statuses(cloud, E, 1) == [404]
    assert ask(cloud, "DELETE", E).status == 204
    assert statuses(cloud, E, 1) == [404]


# Traffic


def split(cloud: Cloud) -> dict[str, int]:
    """The split of the traffic that a read shows."""
    shown: dict[str, int] = ask(cloud, "GET", E).body["properties"]["traffic"]
    return shown


def test_a_new_split_is_shown_late() -> None:
    """Three reads after the change is done still show the old one; reads before that do not count."""
    cloud = Cloud(Settings(traffic_after_reads=3))
    deployed(cloud, "blue", "green", traffic={"blue": 100})
    assert [split(cloud) for _ in range(3)] == [{}] * 3
    assert split(cloud) == {"blue": 100}
    changing = put_endpoint(cloud, traffic={"green": 100})
    assert [split(cloud) for _ in range(5)] == [{"blue": 100}] * 5
    wait(cloud, changing)
    [listed] = ask(cloud, "GET", "onlineEndpoints").body["value"]
    assert listed["properties"]["traffic"] == {"blue": 100}
    assert [split(cloud) for _ in range(3)] == [{"blue": 100}, {"blue": 100}, {"green": 100}]


def test_requests_follow_the_new_split() -> None:
    """What is late is what is shown."""
    with FakeAzure(traffic_after_reads=5) as azure:
        endpoint = trained(azure, azure.workspace()).deploy(instance_type=SIZE)
        assert endpoint.chat(PROMPT, do_sample=False).text == REPLY
        [there] = azure.endpoints.values()
        assert there.traffic == {"default": 100}
        endpoint.delete()


def test_other_changes_show_the_split_at_once() -> None:
    """A change that leaves the traffic alone makes nothing late."""
    cloud = Cloud(Settings(traffic_after_reads=3))
    deployed(cloud, "blue", traffic={"blue": 100})
    assert [split(cloud) for _ in range(4)][-1] == {"blue": 100}
    wait(cloud, put_endpoint(cloud, traffic={"blue": 100}, description="another"))
    assert split(cloud) == {"blue": 100}


# Names of endpoints


def test_a_name_rests_after_its_endpoint() -> None:
    """Its creation answers 404 for a while after the deletion, as users have met it (pain.md O1)."""
    cloud = Cloud(Settings(endpoint_name_rest=REST))
    wait(cloud, put_endpoint(cloud))
    wait(cloud, ask(cloud, "DELETE", E))
    gone = cloud.clock.now()
    refused = put_endpoint(cloud)
    assert (refused.status, refused.code, refused.message) == (
        404,
        "InferencingClientCallFailed",
        "Not Found",
    )
    assert put_endpoint(cloud, "phi-other").status == 201
    cloud.clock.advance_to(gone + REST - timedelta(seconds=1))
    assert put_endpoint(cloud, "PHI-TEST").status == 404
    cloud.clock.advance_to(gone + REST)
    assert put_endpoint(cloud).status == 201


def test_by_default_a_name_is_free_at_once() -> None:
    """An endpoint can be made again as soon as it is gone."""
    cloud = Cloud()
    wait(cloud, put_endpoint(cloud))
    wait(cloud, ask(cloud, "DELETE", E))
    assert put_endpoint(cloud).status == 201


def test_our_client_takes_the_next_name() -> None:
    """While the model's own name rests, its next endpoint gets another, and the first again later."""
    with FakeAzure(endpoint_name_rest=REST) as azure:
        model = trained(azure, azure.workspace())
        names = []
        for pause in (timedelta(0), timedelta(0), REST):
            azure.clock.advance(pause)
            endpoint = model.deploy(instance_type=SIZE)
            names.append(endpoint.name)
            endpoint.delete()
        first, second, third = names
        assert first != second
        assert first == third


def test_the_real_client_meets_the_resting_name() -> None:
    """It hands the service's 404 on."""
    with FakeAzure(endpoint_name_rest=REST) as azure:
        client = azure.ml_client()
        client.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="phi-test")).result()
        client.online_endpoints.begin_delete("phi-test").result()
        with pytest.raises(ResourceNotFoundError, match="InferencingClientCallFailed"):
            client.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="phi-test"))
