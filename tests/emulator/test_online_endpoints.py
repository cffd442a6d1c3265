from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from asking import ask
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
from online import A100, PHI, E, deployed, detail, put_deployment, put_endpoint, state, wait

from phi_finetune.emulator.cloud import Cloud
from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.core.faults import DeploymentFails
from phi_finetune.emulator.online_endpoints.rules import check_name, check_split
from phi_finetune.testing import FakeAzure


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
    kept = azure.endpoints["phi-test"].deployments["blue"]
    assert (kept.model, kept.instance_type, kept.instances) == (PHI, A100, 1)

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
