from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from asking import Answer, ask
from azure.ai.ml import MLClient
from azure.ai.ml.entities import (
    ManagedOnlineDeployment,
    ManagedOnlineEndpoint,
    OnlineRequestSettings,
    ProbeSettings,
)
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from hypothesis import given
from hypothesis import strategies as st

from phi_finetune.emulator.catalogue import vm_sizes
from phi_finetune.emulator.cloud import Cloud, Settings
from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.core.faults import DeploymentFails
from phi_finetune.emulator.online_endpoints.rules import check_name, check_split, cores_needed
from phi_finetune.testing import FakeAzure

A100 = "Standard_NC24ads_A100_v4"
FAMILY = "standardNCADSA100v4Family"
PHI = "azureml://registries/azureml/models/Phi-4/versions/8"
E = "onlineEndpoints/phi-test"
D = f"{E}/deployments/blue"


@pytest.fixture
def cloud() -> Cloud:
    """A cloud of its own."""
    return Cloud()


@pytest.fixture
def azure() -> Iterator[FakeAzure]:
    """A fake that takes over the requests of this process."""
    with FakeAzure() as azure:
        yield azure


@pytest.fixture
def client(azure: FakeAzure) -> MLClient:
    """A real client of the workspace."""
    return azure.ml_client()


def put_endpoint(cloud: Cloud, name: str = "phi-test", **properties: Any) -> Answer:
    """Ask for an endpoint."""
    body = {"location": "eastus", "tags": {}, "properties": {"authMode": "Key", **properties}}
    return ask(cloud, "PUT", f"onlineEndpoints/{name}", body)


def put_deployment(
    cloud: Cloud, name: str = "blue", *, size: str = A100, count: int = 1, **more: Any
) -> Answer:
    """Ask for a deployment of a registry's Phi-4."""
    properties = {"endpointComputeType": "Managed", "model": PHI, "instanceType": size, **more}
    body = {"sku": {"name": "Default", "capacity": count}, "properties": properties}
    return ask(cloud, "PUT", f"{E}/deployments/{name}", body)


def wait(cloud: Cloud, began: Answer) -> dict[str, Any]:
    """Poll the operation that an answer began until it has ended."""
    while True:
        status: dict[str, Any] = ask(cloud, "GET", began.headers["Azure-AsyncOperation"]).body
        if status["status"] != "InProgress":
            return status


def deployed(cloud: Cloud, *names: str, traffic: dict[str, int] | None = None) -> None:
    """Make an endpoint with deployments that are healthy, and split its traffic."""
    wait(cloud, put_endpoint(cloud))
    for name in names:
        wait(cloud, put_deployment(cloud, name))
    if traffic:
        assert wait(cloud, put_endpoint(cloud, traffic=traffic))["status"] == "Succeeded"


def state(cloud: Cloud, path: str) -> str:
    """The provisioning state of an endpoint or a deployment."""
    return str(ask(cloud, "GET", path).body["properties"]["provisioningState"])


def detail(answer: Answer) -> str:
    """The message of the first detail of a refusal."""
    return str(answer.body["error"]["details"][0]["message"])


# Endpoints


def test_a_new_endpoint_is_made_by_an_operation(cloud: Cloud) -> None:
    """PUT answers 201 with both headers; the state is Updating until the operation has ended (service.md)."""
    answer = put_endpoint(cloud, description="ours")
    assert answer.status == 201
    assert "/mfeOperationsStatus/" in answer.headers["Azure-AsyncOperation"]
    assert "/mfeOperationResults/" in answer.headers["Location"]
    assert state(cloud, E) == "Updating"
    assert wait(cloud, answer) == {"status": "Succeeded", "percentComplete": 100.0}
    assert state(cloud, E) == "Succeeded"


def test_an_endpoint_can_be_followed_by_its_location_too(cloud: Cloud) -> None:
    """The URL in Location answers 202 while the operation lasts, then 200."""
    location = put_endpoint(cloud).headers["Location"]
    statuses = [ask(cloud, "GET", location).status for _ in range(3)]
    assert statuses == [202, 200, 200]


def test_an_endpoint_has_the_fields_that_a_client_reads(cloud: Cloud) -> None:
    """The answer holds the scoring URI, the auth mode, and when it was made and changed (wire.md 9)."""
    wait(cloud, put_endpoint(cloud))
    body = ask(cloud, "GET", E).body
    assert body["id"] == f"{cloud.workspace.id}/{E}"
    assert body["properties"]["scoringUri"] == "https://phi-test.eastus.inference.ml.azure.com/score"
    assert body["properties"]["authMode"] == "Key"
    assert body["properties"]["traffic"] == {}
    assert body["systemData"]["createdAt"] <= body["systemData"]["lastModifiedAt"]


def test_endpoints_are_listed(cloud: Cloud) -> None:
    """The list has every endpoint, the oldest first."""
    put_endpoint(cloud, "phi-one")
    put_endpoint(cloud, "phi-two")
    assert [one["name"] for one in ask(cloud, "GET", "onlineEndpoints").body["value"]] == [
        "phi-one",
        "phi-two",
    ]


def test_a_missing_endpoint_is_404(cloud: Cloud) -> None:
    """GET of an endpoint that is not there answers 404 and names it."""
    answer = ask(cloud, "GET", E)
    assert (answer.status, answer.code) == (404, "UserError")
    assert "phi-test" in answer.message


def test_a_name_of_somebody_else_in_the_region_is_refused(cloud: Cloud) -> None:
    """Names are unique in a region; the refusal is the service's, in a detail of a BadRequest."""
    cloud.endpoints.reserve("Phi-Test")
    answer = put_endpoint(cloud)
    assert (answer.status, answer.code) == (400, "BadRequest")
    assert "There is already an endpoint with this name" in detail(answer)
    assert cloud.endpoints.all() == ()


def test_the_region_holds_a_hundred_endpoints(cloud: Cloud) -> None:
    """The endpoint over the limit is refused in the service's words."""
    for number in range(100):
        put_endpoint(cloud, f"phi-{number}")
    answer = put_endpoint(cloud, "phi-more")
    assert answer.code == "InferencingClientCallFailed"
    assert "Current usage/limit: 100/100" in answer.message


def test_an_unknown_auth_mode_is_refused(cloud: Cloud) -> None:
    """Only key, AML token and Entra token are ways to sign in."""
    assert put_endpoint(cloud, authMode="Password").status == 400


def test_the_same_put_twice_makes_one_endpoint(cloud: Cloud) -> None:
    """A PUT that is sent again while the first is under way changes nothing and joins its operation."""
    first, again = put_endpoint(cloud), put_endpoint(cloud)
    assert (first.status, again.status) == (201, 200)
    assert first.headers["Azure-AsyncOperation"] == again.headers["Azure-AsyncOperation"]


def test_another_change_meanwhile_is_a_conflict(cloud: Cloud) -> None:
    """An endpoint that is being changed takes no other change."""
    put_endpoint(cloud)
    answer = put_endpoint(cloud, description="other")
    assert answer.status == 409
    assert "Updating provisioning state" in answer.message


def test_tags_are_patched_at_once(cloud: Cloud) -> None:
    """PATCH of an endpoint changes its tags and nothing else."""
    put_endpoint(cloud, description="ours")
    assert ask(cloud, "PATCH", E, {"tags": {"team": "phi"}}).status == 200
    body = ask(cloud, "GET", E).body
    assert (body["tags"], body["properties"]["description"]) == ({"team": "phi"}, "ours")


def test_deleting_an_endpoint_deletes_its_deployments(cloud: Cloud) -> None:
    """DELETE answers 202 with both headers, and takes the deployments along, traffic or not."""
    deployed(cloud, "blue", traffic={"blue": 100})
    answer = ask(cloud, "DELETE", E)
    assert answer.status == 202
    assert {"Azure-AsyncOperation", "Location"} <= answer.headers.keys()
    assert state(cloud, E) == "Deleting"
    wait(cloud, answer)
    assert ask(cloud, "GET", E).status == 404
    assert cloud.endpoints.deployments() == ()


def test_deleting_again_follows_the_first_deletion(cloud: Cloud) -> None:
    """Two DELETEs are one operation; where there is nothing, the answer is 204 (wire.md 9)."""
    put_endpoint(cloud)
    first, again = ask(cloud, "DELETE", E), ask(cloud, "DELETE", E)
    assert first.headers["Azure-AsyncOperation"] == again.headers["Azure-AsyncOperation"]
    wait(cloud, again)
    assert ask(cloud, "DELETE", E).status == 204


def test_deleting_an_endpoint_cancels_the_deployment_under_way(cloud: Cloud) -> None:
    """The operation of a deployment whose endpoint is deleted ends as canceled."""
    wait(cloud, put_endpoint(cloud))
    began = put_deployment(cloud)
    wait(cloud, ask(cloud, "DELETE", E))
    assert wait(cloud, began)["error"]["code"] == "OperationCanceled"


# Keys and tokens


def test_each_endpoint_has_two_keys_of_its_own(cloud: Cloud) -> None:
    """No two keys are alike, so a leak from one endpoint to another is seen (wire.md 13.11)."""
    put_endpoint(cloud, "phi-one")
    put_endpoint(cloud, "phi-two")
    pairs = [ask(cloud, "POST", f"onlineEndpoints/{name}/listKeys").body for name in ("phi-one", "phi-two")]
    assert len({key for pair in pairs for key in (pair["primaryKey"], pair["secondaryKey"])}) == 4


@pytest.mark.parametrize(("kind", "field"), [("Primary", "primaryKey"), ("Secondary", "secondaryKey")])
def test_one_key_is_regenerated(cloud: Cloud, kind: str, field: str) -> None:
    """Regenerating replaces the key that was named, also where the present one is sent as the wanted one."""
    put_endpoint(cloud)
    before = ask(cloud, "POST", f"{E}/listKeys").body
    ask(cloud, "POST", f"{E}/regenerateKeys", {"keyType": kind, "keyValue": before[field]})
    after = ask(cloud, "POST", f"{E}/listKeys").body
    assert [name for name in before if before[name] != after[name]] == [field]
    assert cloud.endpoints.knows_key(before[field])


def test_a_wanted_key_is_taken(cloud: Cloud) -> None:
    """A key value of the caller's own becomes the key."""
    put_endpoint(cloud)
    ask(cloud, "POST", f"{E}/regenerateKeys", {"keyType": "Primary", "keyValue": "of-our-own"})
    assert ask(cloud, "POST", f"{E}/listKeys").body["primaryKey"] == "of-our-own"


def test_an_endpoint_with_tokens_gives_tokens_and_no_keys(cloud: Cloud) -> None:
    """An endpoint of auth mode AMLToken gives tokens that expire, and has no keys."""
    put_endpoint(cloud, authMode="AMLToken")
    token = ask(cloud, "POST", f"{E}/token").body
    assert token["expiryTimeUtc"] > token["refreshAfterTimeUtc"] > cloud.clock.now().timestamp()
    assert ask(cloud, "POST", f"{E}/listKeys").status == 400


def test_an_endpoint_with_keys_gives_no_tokens(cloud: Cloud) -> None:
    """An endpoint of auth mode Key has no tokens of its own."""
    put_endpoint(cloud)
    assert ask(cloud, "POST", f"{E}/token").status == 400


# Deployments


def test_a_deployment_comes_up_in_its_time(cloud: Cloud) -> None:
    """Image, node and weights, and the readiness probe's delay pass on the clock before it is healthy."""
    wait(cloud, put_endpoint(cloud))
    before = cloud.clock.now()
    answer = put_deployment(cloud, readinessProbe={"initialDelay": "PT10M"})
    assert (answer.status, state(cloud, D)) == (201, "Updating")
    assert wait(cloud, answer)["status"] == "Succeeded"
    assert state(cloud, D) == "Succeeded"
    assert cloud.clock.now() - before == timedelta(minutes=21)


def test_the_service_fills_in_what_was_not_sent(cloud: Cloud) -> None:
    """Probes, request and scale settings have the service's defaults (service.md; pain.md, part 2)."""
    wait(cloud, put_endpoint(cloud))
    put_deployment(
        cloud, readinessProbe={"initialDelay": "PT10M"}, requestSettings={"requestTimeout": "PT90S"}
    )
    body = ask(cloud, "GET", D).body
    properties = body["properties"]
    probe = {"period": "PT10S", "timeout": "PT2S", "successThreshold": 1, "failureThreshold": 30}
    assert properties["livenessProbe"] == {"initialDelay": "PT10S", **probe}
    assert properties["readinessProbe"] == {"initialDelay": "PT10M", **probe}
    assert properties["requestSettings"]["requestTimeout"] == "PT90S"
    assert properties["requestSettings"]["maxConcurrentRequestsPerInstance"] == 1
    assert properties["scaleSettings"] == {"scaleType": "Default"}
    assert body["sku"]["capacity"] == 1


def test_a_deployment_needs_its_endpoint_settled(cloud: Cloud) -> None:
    """No deployment is made in an endpoint that is being made or changed (pain.md O6)."""
    assert put_deployment(cloud).status == 404
    put_endpoint(cloud)
    answer = put_deployment(cloud)
    assert answer.status == 409
    assert answer.message.startswith(
        "Cannot create a deployment in endpoint phi-test because it is in Updating"
    )


def test_a_missing_deployment_is_404_in_the_services_words(cloud: Cloud) -> None:
    """GET of a deployment that is not there names it, its endpoint and the workspace."""
    put_endpoint(cloud)
    answer = ask(cloud, "GET", D)
    assert (answer.status, answer.code) == (404, "UserError")
    assert answer.message == "Deployment blue not found in endpoint phi-test, workspace phi-lab"


def test_a_model_that_is_not_there_is_refused(cloud: Cloud) -> None:
    """A deployment names a model that exists."""
    wait(cloud, put_endpoint(cloud))
    assert put_deployment(cloud, model="azureml:nobody:1").status == 404


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": "Standard_NC6"},
        {"size": "Standard_Nothing"},
        {"count": 0},
        {"count": 51},
        {"name": "b"},
        {"endpointComputeType": "Kubernetes"},
        {"requestSettings": {"requestTimeout": "PT3M1S"}},
        {"requestSettings": {"maxConcurrentRequestsPerInstance": 0}},
        {"livenessProbe": {"successThreshold": 2}},
        {"livenessProbe": {"failureThreshold": 0}},
        {"readinessProbe": {"initialDelay": "PT0S"}},
    ],
    ids=str,
)
def test_what_breaks_a_rule_is_refused(cloud: Cloud, wrong: dict[str, Any]) -> None:
    """The service checks what the client does not: size, count, name, timeouts and probes (wire.md 13.10)."""
    wait(cloud, put_endpoint(cloud))
    assert put_deployment(cloud, **wrong).status == 400
    assert cloud.endpoints.deployments() == ()


def test_too_little_quota_is_refused_with_the_reserve_in_words_of_the_service() -> None:
    """One instance of a size that is not exempt takes the cores of two (pain.md O2)."""
    cloud = Cloud(Settings(quota={"standardFSv2Family": 6}))
    wait(cloud, put_endpoint(cloud))
    answer = put_deployment(cloud, size="Standard_F4s_v2")
    assert (answer.status, answer.code, answer.message) == (400, "BadRequest", "The request is invalid.")
    assert "Not enough quota available for Standard_F4s_v2" in detail(answer)
    assert "Current usage/limit: 0/6. Additional needed: 8 " in detail(answer)


def test_an_exempt_size_takes_its_cores_only() -> None:
    """A GPU size without the reserve fits where its own cores do, once."""
    cloud = Cloud(Settings(quota={FAMILY: 24}))
    deployed(cloud, "blue")
    answer = put_deployment(cloud, "green")
    assert "Current usage/limit: 24/24. Additional needed: 24 " in detail(answer)


def test_quota_comes_back_with_the_deletion() -> None:
    """The cores of a deleted deployment are free again."""
    cloud = Cloud(Settings(quota={FAMILY: 24}))
    deployed(cloud, "blue")
    wait(cloud, ask(cloud, "DELETE", D))
    assert put_deployment(cloud, "green").status == 201


def test_an_endpoint_has_twenty_deployments_at_most() -> None:
    """The deployment over the limit is refused."""
    cloud = Cloud(Settings(quota={FAMILY: 1000}))
    wait(cloud, put_endpoint(cloud))
    for number in range(20):
        assert put_deployment(cloud, f"blue-{number}").status == 201
    assert "20 deployments" in put_deployment(cloud, "one-more").message


def test_scaling_takes_a_while_and_keeps_traffic(cloud: Cloud) -> None:
    """Another number of instances is a change of its own kind, during which the deployment still answers."""
    deployed(cloud, "blue", traffic={"blue": 100})
    answer = ask(cloud, "PATCH", D, {"sku": {"capacity": 2}})
    assert (answer.status, state(cloud, D)) == (200, "Scaling")
    assert cloud.endpoints.find("phi-test").turn() is not None
    wait(cloud, answer)
    assert ask(cloud, "GET", D).body["sku"]["capacity"] == 2


def test_the_instance_type_of_a_deployment_stays(cloud: Cloud) -> None:
    """A deployment moves to no other size."""
    deployed(cloud, "blue")
    assert put_deployment(cloud, size="Standard_DS3_v2").status == 400


def test_another_model_rolls_the_deployment_out_anew(cloud: Cloud) -> None:
    """A change of more than the instances brings the containers up once more."""
    deployed(cloud, "blue")
    answer = put_deployment(
        cloud, environmentVariables={"A": "B"}, requestSettings={"requestTimeout": "PT1M"}
    )
    assert answer.status == 200
    before = cloud.clock.now()
    assert put_deployment(cloud, "blue", count=2).status == 409
    wait(cloud, answer)
    assert cloud.clock.now() - before > timedelta(minutes=10)


def test_a_failed_deployment_says_why(cloud: Cloud) -> None:
    """The operation has the fault's code and message, the state is Failed, the log has its words last."""
    cloud.faults.next(DeploymentFails(message="It crashed.", log="No module named 'x'"))
    wait(cloud, put_endpoint(cloud))
    ended = wait(cloud, put_deployment(cloud))
    assert ended == {"status": "Failed", "error": {"code": "ResourceNotReady", "message": "It crashed."}}
    assert state(cloud, D) == "Failed"
    content = ask(cloud, "POST", f"{D}/getLogs", {"tail": 1}).body["content"]
    assert content.rstrip().endswith("No module named 'x'")
    assert "UserContainerStart: Failed" in content


def test_a_failed_deployment_can_be_put_again(cloud: Cloud) -> None:
    """A second PUT of a failed deployment tries once more."""
    cloud.faults.next(DeploymentFails())
    wait(cloud, put_endpoint(cloud))
    wait(cloud, put_deployment(cloud))
    assert wait(cloud, put_deployment(cloud))["status"] == "Succeeded"


@pytest.mark.parametrize(
    ("code", "lasts", "stage"),
    [
        ("OutOfQuota", timedelta(minutes=1), "SystemSetup"),
        ("ImageBuildFailure", timedelta(minutes=5), "UserContainerImagePull"),
        ("ResourceNotReady", timedelta(minutes=16, seconds=10), "UserContainerStart"),
    ],
)
def test_each_failure_comes_in_its_stage(cloud: Cloud, code: str, lasts: timedelta, stage: str) -> None:
    """Quota fails before the image, the image before the container, the container when its probes give up."""
    cloud.faults.next(DeploymentFails(code=code))
    wait(cloud, put_endpoint(cloud))
    before = cloud.clock.now()
    wait(cloud, put_deployment(cloud))
    assert cloud.clock.now() - before == lasts
    content = ask(cloud, "POST", f"{D}/getLogs", {}).body["content"]
    assert [line for line in content.splitlines() if line.endswith(": Failed")] == [f"{stage}: Failed"]


def test_logs_grow_with_the_rollout(cloud: Cloud) -> None:
    """Each container's log says what has been done by now, and no more."""
    wait(cloud, put_endpoint(cloud))
    put_deployment(cloud)
    log = f"{D}/getLogs"
    assert "UserContainerImagePull: Waiting" in ask(cloud, "POST", log, {}).body["content"]
    cloud.clock.advance(timedelta(minutes=6))
    initializer = ask(cloud, "POST", log, {"containerType": "StorageInitializer"}).body["content"]
    assert "Downloading model" in initializer
    assert "complete" not in initializer
    assert "ModelDownload: InProgress" in initializer
    cloud.clock.advance(timedelta(minutes=10))
    assert "Server is ready" in ask(cloud, "POST", log, {"containerType": "InferenceServer"}).body["content"]


def test_a_deployment_that_takes_traffic_cannot_be_deleted(cloud: Cloud) -> None:
    """Its traffic must go first."""
    deployed(cloud, "blue", traffic={"blue": 100})
    answer = ask(cloud, "DELETE", D)
    assert answer.status == 400
    assert "takes 100 % of the traffic" in answer.message
    wait(cloud, put_endpoint(cloud, traffic={"blue": 0}))
    assert ask(cloud, "DELETE", D).status == 202


def test_a_missing_deployment_is_deleted_without_error(cloud: Cloud) -> None:
    """DELETE of what is not there answers 204."""
    put_endpoint(cloud)
    assert ask(cloud, "DELETE", D).status == 204


# Traffic


def test_traffic_cannot_be_set_at_creation(cloud: Cloud) -> None:
    """An endpoint is made without traffic (pain.md P3)."""
    assert put_endpoint(cloud, traffic={"blue": 100}).status == 400


@pytest.mark.parametrize(
    "split",
    [{"blue": 50}, {"blue": 101}, {"blue": -1}, {"blue": "100"}, {"green": 100}, {"blue": 60, "red": 40}],
)
def test_a_wrong_split_is_refused(cloud: Cloud, split: dict[str, Any]) -> None:
    """Traffic sums up to 0 or 100, in integers, over deployments that exist (pain.md, part 2)."""
    deployed(cloud, "blue")
    assert put_endpoint(cloud, traffic=split).status == 400
    assert ask(cloud, "GET", E).body["properties"]["traffic"] == {}


def test_a_failed_deployment_takes_no_traffic(cloud: Cloud) -> None:
    """Traffic goes only where something answers."""
    cloud.faults.next(DeploymentFails())
    deployed(cloud, "blue")
    answer = put_endpoint(cloud, traffic={"blue": 100})
    assert answer.status == 400
    assert "its provisioning state is Failed" in answer.message


def test_mirrored_traffic_is_half_at_most(cloud: Cloud) -> None:
    """Mirror traffic may be 0 to 50 percent."""
    deployed(cloud, "blue", "green", traffic={"blue": 100})
    assert put_endpoint(cloud, traffic={"blue": 100}, mirrorTraffic={"green": 51}).status == 400
    assert put_endpoint(cloud, traffic={"blue": 100}, mirrorTraffic={"green": 50}).status == 200


def test_requests_are_dealt_out_as_the_split_says(cloud: Cloud) -> None:
    """Of a hundred requests, each deployment gets exactly its share."""
    deployed(cloud, "blue", "green", traffic={"blue": 70, "green": 30})
    endpoint = cloud.endpoints.find("phi-test")
    turns = [deployment.name for _ in range(100) if (deployment := endpoint.turn())]
    assert (turns.count("blue"), turns.count("green")) == (70, 30)


# Rules that hold for all inputs


@given(
    st.from_regex(r"[a-zA-Z][a-zA-Z0-9]{0,10}(-[a-zA-Z0-9]{1,6}){0,2}", fullmatch=True).filter(
        lambda s: len(s) >= 3
    )
)
def test_every_name_of_the_rule_is_taken(name: str) -> None:
    """Letters, digits and single dashes, a letter first, 3 to 32 characters."""
    check_name("endpoint", name)


@pytest.mark.parametrize("name", ["ab", "1ab", "-ab", "ab-", "a--b", "a_b", "a b", "a.b", "a" * 33, "ä-b"])
def test_every_other_name_is_refused(name: str) -> None:
    """What breaks one part of the rule is refused."""
    with pytest.raises(ServiceError):
        check_name("endpoint", name)


@given(st.sampled_from(vm_sizes()), st.integers(1, 50))
def test_the_reserve_is_one_in_five_rounded_up(size: Any, instances: int) -> None:
    """A size that is not exempt takes a fifth of the instances more, in whole instances."""
    cores = cores_needed(size, instances)
    reserve = cores / size.vcpus - instances
    assert reserve == 0 if size.exempt else 0 <= reserve - instances / 5 < 1


@given(st.dictionaries(st.text(min_size=1), st.integers(0, 100), max_size=4))
def test_a_split_is_taken_exactly_if_it_sums_up(split: dict[str, int]) -> None:
    """Only 0 and 100 are sums of a split."""
    if sum(split.values()) in (0, 100):
        check_split("traffic", split, (0, 100))
        return
    with pytest.raises(ServiceError):
        check_split("traffic", split, (0, 100))


# The real client


def test_the_real_client_deploys_and_deletes(azure: FakeAzure, client: MLClient, tmp_path: Any) -> None:
    """azure-ai-ml makes endpoint and deployment, sets traffic, invokes, reads logs and keys, and deletes."""
    endpoints, deployments = client.online_endpoints, client.online_deployments
    endpoint = endpoints.begin_create_or_update(
        ManagedOnlineEndpoint(name="phi-test", auth_mode="key")
    ).result()
    deployment = deployments.begin_create_or_update(
        ManagedOnlineDeployment(
            name="blue",
            endpoint_name="phi-test",
            model=PHI,
            instance_type=A100,
            instance_count=1,
            request_settings=OnlineRequestSettings(request_timeout_ms=90_000),
            liveness_probe=ProbeSettings(initial_delay=600),
        )
    ).result()
    assert (deployment.provisioning_state, deployment.liveness_probe.initial_delay) == ("Succeeded", 600)

    endpoint.traffic = {"blue": 100}
    endpoints.begin_create_or_update(endpoint).result()
    assert endpoints.get("phi-test").traffic == {"blue": 100}
    assert azure.endpoints["phi-test"].deployments["blue"].instances == 1

    request = tmp_path / "request.json"
    request.write_text(json.dumps({"input_data": {"input_string": [{"role": "user", "content": "Hello"}]}}))
    assert "output" in json.loads(endpoints.invoke("phi-test", request_file=str(request)))
    assert "POST /score" in deployments.get_logs("blue", "phi-test", lines=1)

    before = endpoints.get_keys("phi-test").primary_key
    endpoints.begin_regenerate_keys("phi-test").result()
    assert endpoints.get_keys("phi-test").primary_key != before
    assert [one.name for one in endpoints.list()] == ["phi-test"]
    assert [one.name for one in deployments.list("phi-test")] == ["blue"]

    endpoint.traffic = {}
    endpoints.begin_create_or_update(endpoint).result()
    deployments.begin_delete("blue", "phi-test").result()
    endpoints.begin_delete("phi-test").result()
    assert azure.endpoints == {}
    with pytest.raises(ResourceNotFoundError):
        endpoints.get("phi-test")


def test_the_real_client_tells_why_a_deployment_failed(azure: FakeAzure, client: MLClient) -> None:
    """The poller raises with the operation's code and message (wire.md 9)."""
    azure.faults.next(DeploymentFails(code="OutOfQuota", message="Not enough quota."))
    client.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="phi-test")).result()
    wanted = ManagedOnlineDeployment(name="blue", endpoint_name="phi-test", model=PHI, instance_type=A100)
    with pytest.raises(HttpResponseError, match=r"\(OutOfQuota\) Not enough quota\."):
        client.online_deployments.begin_create_or_update(wanted).result()
    assert client.online_deployments.get("blue", "phi-test").provisioning_state == "Failed"
