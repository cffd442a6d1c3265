from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from asking import ask
from hypothesis import given
from hypothesis import strategies as st
from online import wait
from serverless import (
    MISTRAL,
    PHI,
    PROMPT,
    REPLY,
    S,
    keys,
    made,
    properties,
    put_serverless,
    score,
    subscribe,
    tuned,
)

from phi_finetune.emulator.cloud import Cloud, Settings
from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.core.faults import Answer as Refusal
from phi_finetune.emulator.core.faults import OperationFails
from phi_finetune.emulator.core.http import Request
from phi_finetune.emulator.identity.state import ARM_AUDIENCE, ML_AUDIENCE
from phi_finetune.emulator.serverless_endpoints.state import check_name


@pytest.fixture
def cloud() -> Cloud:
    """A cloud of its own."""
    return Cloud()


# Making, changing, deleting


def test_a_new_endpoint_is_made_by_an_operation(cloud: Cloud) -> None:
    """It is Creating and has no address until the operation has ended; then it is Online."""
    answer = put_serverless(cloud)
    assert answer.status == 201
    assert {"Azure-AsyncOperation", "Location"} <= answer.headers.keys()
    made = properties(cloud)
    assert (made["provisioningState"], made["endpointState"]) == ("Creating", "Creating")
    assert made["inferenceEndpoint"] is None
    assert wait(cloud, answer)["status"] == "Succeeded"
    made = properties(cloud)
    assert (made["provisioningState"], made["endpointState"]) == ("Succeeded", "Online")
    assert made["inferenceEndpoint"]["uri"] == "https://phi-test.eastus.models.ai.azure.com"


def test_an_endpoint_is_what_was_asked_for(cloud: Cloud) -> None:
    """The answer holds what was sent, and the defaults of the rest: keys and content safety."""
    made(cloud, tags={"team": "phi"})
    body = ask(cloud, "GET", S).body
    assert body["id"] == f"{cloud.workspace.id}/{S}"
    assert (body["tags"], body["sku"]) == ({"team": "phi"}, {"name": "Consumption"})
    assert body["properties"]["modelSettings"] == {"modelId": PHI}
    assert body["properties"]["authMode"] == "Key"
    assert body["properties"]["contentSafety"] == {"contentSafetyStatus": "Enabled"}
    assert body["properties"]["marketplaceSubscriptionId"] is None


def test_endpoints_are_listed(cloud: Cloud) -> None:
    """The oldest is the first; two may serve one model."""
    made(cloud, name="one")
    made(cloud, name="two")
    assert [one["name"] for one in ask(cloud, "GET", "serverlessEndpoints").body["value"]] == ["one", "two"]


@pytest.mark.parametrize(("method", "path"), [("GET", S), ("PATCH", S), ("POST", f"{S}/listKeys")])
def test_a_missing_endpoint_is_404(cloud: Cloud, method: str, path: str) -> None:
    """The answer names it."""
    answer = ask(cloud, method, path)
    assert (answer.status, answer.code) == (404, "UserError")
    assert "phi-test" in answer.message


def test_the_same_put_twice_makes_one_endpoint(cloud: Cloud) -> None:
    """Under way or done, the same again is no second endpoint."""
    first, again = put_serverless(cloud), put_serverless(cloud)
    assert (first.status, again.status) == (201, 200)
    assert first.headers["Azure-AsyncOperation"] == again.headers["Azure-AsyncOperation"]
    wait(cloud, first)
    assert put_serverless(cloud).status == 200
    assert len(cloud.serverless_endpoints.all()) == 1


def test_another_change_meanwhile_is_a_conflict(cloud: Cloud) -> None:
    """An endpoint that is being made takes no other change."""
    put_serverless(cloud)
    answer = put_serverless(cloud, authMode="AAD")
    assert answer.status == 409
    assert "Creating provisioning state" in answer.message


def test_an_endpoint_answers_while_it_is_changed(cloud: Cloud) -> None:
    """Its tags and its way to sign in can be changed."""
    made(cloud)
    [key, _] = keys(cloud)
    answer = put_serverless(cloud, tags={"team": "phi"}, authMode="KeyAndAAD")
    assert answer.status == 200
    assert properties(cloud)["provisioningState"] == "Updating"
    assert score(cloud, f"Bearer {key}").status == 200
    wait(cloud, answer)
    assert properties(cloud)["authMode"] == "KeyAndAAD"
    assert keys(cloud)[0] == key


def test_the_model_stays(cloud: Cloud) -> None:
    """Another model needs another endpoint."""
    made(cloud)
    answer = put_serverless(cloud, PHI.replace("Phi-4", "Phi-3-small-8k-instruct"))
    assert answer.status == 400
    assert "cannot be changed" in answer.message
    assert properties(cloud)["modelSettings"] == {"modelId": PHI}


def test_tags_are_patched_at_once(cloud: Cloud) -> None:
    """PATCH changes the tags and nothing else."""
    made(cloud)
    assert ask(cloud, "PATCH", S, {"tags": {"team": "phi"}}).body["tags"] == {"team": "phi"}
    assert cloud.serverless_endpoints.find("phi-test").spec.tags == {"team": "phi"}
    assert properties(cloud)["provisioningState"] == "Succeeded"


def test_an_endpoint_is_deleted_by_an_operation(cloud: Cloud) -> None:
    """It stops answering at once, and is gone at the end; deleting what is not there is 204."""
    made(cloud)
    [key, _] = keys(cloud)
    answer = ask(cloud, "DELETE", S)
    assert answer.status == 202
    assert {"Azure-AsyncOperation", "Location"} <= answer.headers.keys()
    assert properties(cloud)["endpointState"] == "Deleting"
    assert score(cloud, f"Bearer {key}").status == 404
    assert put_serverless(cloud).status == 409
    again = ask(cloud, "DELETE", S)
    assert again.headers["Azure-AsyncOperation"] == answer.headers["Azure-AsyncOperation"]
    assert wait(cloud, answer)["status"] == "Succeeded"
    assert ask(cloud, "GET", S).status == 404
    assert ask(cloud, "DELETE", S).status == 204
    assert put_serverless(cloud).status == 201


def test_deleting_an_endpoint_ends_its_creation(cloud: Cloud) -> None:
    """The creation that was under way is canceled, and what comes later of that name is not touched by it."""
    making = put_serverless(cloud)
    wait(cloud, ask(cloud, "DELETE", S))
    put_serverless(cloud)
    assert wait(cloud, making)["error"]["code"] == "OperationCanceled"
    assert properties(cloud)["endpointState"] == "Creating"


def test_a_failed_creation_can_be_repeated(cloud: Cloud) -> None:
    """The endpoint is there, has no address, and comes up with the next PUT."""
    cloud.faults.next(OperationFails(kind="mfe*", code="InternalServerError"))
    assert wait(cloud, put_serverless(cloud))["status"] == "Failed"
    failed = properties(cloud)
    assert (failed["provisioningState"], failed["endpointState"]) == ("Failed", "CreationFailed")
    assert failed["inferenceEndpoint"] is None
    assert score(cloud, f"Bearer {keys(cloud)[0]}").status == 404
    again = put_serverless(cloud)
    assert properties(cloud)["provisioningState"] == "Creating"
    wait(cloud, again)
    assert properties(cloud)["endpointState"] == "Online"


# Names


@given(st.from_regex(r"[a-zA-Z][a-zA-Z0-9-]{0,51}", fullmatch=True))
def test_every_name_of_the_rule_is_taken(name: str) -> None:
    """Letters, digits and dashes, a letter first, 52 characters at most."""
    check_name(name)


@pytest.mark.parametrize("name", ["", "1a", "-a", "a_b", "a b", "a.b", "a" * 53, "ä"])
def test_every_other_name_is_refused(name: str) -> None:
    """What breaks one part of the rule is refused."""
    with pytest.raises(ServiceError):
        check_name(name)


def test_a_name_that_breaks_the_rule_makes_no_endpoint(cloud: Cloud) -> None:
    """The service says what names are like."""
    answer = put_serverless(cloud, name="phi_test")
    assert (answer.status, answer.code) == (400, "BadRequest")
    assert cloud.serverless_endpoints.all() == ()


def test_a_name_of_somebody_else_in_the_region_is_refused(cloud: Cloud) -> None:
    """Names are unique in a region, in any case; the refusal is the service's."""
    cloud.serverless_endpoints.reserve("Phi-Test")
    answer = put_serverless(cloud)
    assert (answer.status, answer.code) == (400, "UserError")
    assert answer.message == (
        "Serverless endpoint name 'phi-test' is not available. Please select a different name."
    )


def test_an_online_endpoint_may_have_the_same_name(cloud: Cloud) -> None:
    """They are different resources on different hosts."""
    made(cloud)
    assert ask(cloud, "PUT", "onlineEndpoints/phi-test", {"properties": {"authMode": "Key"}}).status == 201


def test_a_name_rests_after_its_endpoint() -> None:
    """For a while, the name of a deleted endpoint is not available."""
    cloud = Cloud(Settings(endpoint_name_rest=timedelta(hours=2)))
    made(cloud)
    wait(cloud, ask(cloud, "DELETE", S))
    gone = cloud.clock.now()
    assert "is not available" in put_serverless(cloud).message
    cloud.clock.advance_to(gone + timedelta(hours=2))
    assert put_serverless(cloud).status == 201


def test_a_new_endpoint_is_not_there_at_first() -> None:
    """The first reads do not find what was made, in the words of what was never there."""
    cloud = Cloud(Settings(visible_after_reads=2))
    absent = ask(cloud, "GET", S)
    put_serverless(cloud)
    late = [ask(cloud, "GET", S) for _ in range(4)]
    assert [one.status for one in late] == [404, 404, 200, 200]
    assert late[0].message == absent.message


# Models


@pytest.mark.parametrize(
    ("model", "status", "part"),
    [
        (f"{PHI}/versions/8", 400, "without the version"),
        ("azureml://registries/azureml/models/Phi-5", 404, "Phi-5"),
        ("azureml://registries/nowhere/models/Phi-4", 404, "nowhere"),
        ("azureml://registries/azureml/models/Phi-3-vision-128k-instruct", 400, "not available"),
        ("azureml://registries/azureml/models/microsoft-phi-2", 400, "not available"),
        ("azureml://registries/azureml/models/Phi-3.5-MoE-instruct", 400, "not available"),
        ("azureml:facts:1", 400, "not valid"),
        ("", 400, "not valid"),
    ],
)
def test_a_model_that_cannot_be_served_is_refused(cloud: Cloud, model: str, status: int, part: str) -> None:
    """With a version, unknown, served by machines only, archived, or no id at all."""
    answer = put_serverless(cloud, model)
    assert answer.status == status
    assert part in answer.message
    assert cloud.serverless_endpoints.all() == ()


@pytest.mark.parametrize(
    "model",
    [
        PHI,
        "azureml://registries/azureml-phi/models/Phi-4",
        "azureml://registries/azureml/models/Phi-3-small-8k-instruct",
    ],
)
def test_a_phi_model_needs_no_subscription(cloud: Cloud, model: str) -> None:
    """It is Microsoft's."""
    assert put_serverless(cloud, model).status == 201


def test_the_catalogue_may_offer_a_model_by_a_tag(cloud: Cloud) -> None:
    """Versions before system metadata say it so; the latest version counts."""
    cloud.registries.publish("models", "Phi-3-small-8k-instruct", "9", like="4")
    newest = cloud.registries.store("azureml").get("models", "Phi-3-small-8k-instruct", "9")
    assert "system_metadata" not in newest.content
    assert put_serverless(cloud, PHI.replace("Phi-4", "Phi-3-small-8k-instruct")).status == 201


def test_an_unknown_auth_mode_or_sku_is_refused(cloud: Cloud) -> None:
    """There are three ways to sign in, and one sku."""
    assert "Password" in put_serverless(cloud, authMode="Password").message
    body = {"sku": {"name": "Default"}, "properties": {"modelSettings": {"modelId": PHI}}}
    assert "Consumption" in ask(cloud, "PUT", S, body).message


def test_a_fine_tuned_model_answers_from_what_it_was_trained_on(cloud: Cloud) -> None:
    """A model of the workspace is named with its version."""
    made(cloud, tuned(cloud))
    answer = score(cloud, f"Bearer {keys(cloud)[0]}")
    assert answer.body["choices"][0]["message"]["content"] == REPLY
    assert answer.body["model"] == "facts"


def test_a_fine_tuned_model_may_be_named_by_its_arm_id(cloud: Cloud) -> None:
    """That is what a client reads as the model's id."""
    tuned(cloud)
    assert put_serverless(cloud, ask(cloud, "GET", "models/facts/versions/1").body["id"]).status == 201


def test_a_model_of_the_workspace_must_be_there(cloud: Cloud) -> None:
    """Neither a version that does not exist nor another workspace's model is served."""
    model = tuned(cloud)
    assert put_serverless(cloud, model.replace("versions/1", "versions/2")).code == "ModelNotFound"
    assert put_serverless(cloud, model.replace(cloud.workspace.guid, "other")).status == 404
    assert put_serverless(cloud, "/subscriptions/s/workspaces/other/models/facts/versions/1").status == 404


def test_only_fine_tuned_models_of_the_workspace_are_served(cloud: Cloud) -> None:
    """Other types cannot be loaded."""
    answer = put_serverless(cloud, tuned(cloud, kind="custom_model"))
    assert answer.status == 400
    assert "custom_model" in answer.message


# Answers


@pytest.mark.parametrize("path", ["/chat/completions", "/v1/chat/completions"])
def test_the_model_answers(cloud: Cloud, path: str) -> None:
    """The answer has the form of chat completions, names the model, and takes its time."""
    made(cloud)
    before = cloud.clock.now()
    answer = score(cloud, f"Bearer {keys(cloud)[0]}", path=path)
    assert answer.status == 200
    assert (answer.body["object"], answer.body["model"]) == ("chat.completion", "Phi-4")
    assert answer.body["choices"][0]["message"]["role"] == "assistant"
    assert cloud.clock.now() > before


def test_the_endpoint_tells_what_it_serves(cloud: Cloud) -> None:
    """GET /info is answered to whoever has a key."""
    made(cloud)
    [key, _] = keys(cloud)
    answer = score(cloud, f"Bearer {key}", method="GET", path="/info")
    assert answer.body == {
        "model_name": "Phi-4",
        "model_type": "chat-completion",
        "model_provider_name": "Microsoft",
    }
    assert score(cloud, "Bearer wrong", method="GET", path="/info").status == 401


@pytest.mark.parametrize(
    "body",
    [
        b"no json",
        b"[]",
        {},
        {"input_data": {"input_string": [{"role": "user", "content": PROMPT}]}},
        {"messages": []},
    ],
)
def test_what_is_no_chat_request_is_400(cloud: Cloud, body: Any) -> None:
    """Only messages are understood."""
    made(cloud)
    assert score(cloud, f"Bearer {keys(cloud)[0]}", body).status == 400


def test_a_host_without_an_endpoint_is_404(cloud: Cloud) -> None:
    """Also before an endpoint has come up."""
    assert score(cloud, "Bearer any").status == 404
    put_serverless(cloud)
    assert score(cloud, f"Bearer {keys(cloud)[0]}").status == 404


def test_too_many_requests_are_a_fault(cloud: Cloud) -> None:
    """A rate limit is met where a test asks for it."""
    made(cloud)
    cloud.faults.next(Refusal("POST *.models.ai.azure.com/*", 429, headers={"Retry-After": "7"}))
    answer = score(cloud, f"Bearer {keys(cloud)[0]}")
    assert (answer.status, answer.headers["Retry-After"]) == (429, "7")


# Keys


def test_both_keys_are_good_with_bearer_and_without(cloud: Cloud) -> None:
    """Azure's own example leaves the word out."""
    made(cloud)
    for key in keys(cloud):
        assert len(key) == 32
        assert score(cloud, key).status == score(cloud, f"Bearer {key}").status == 200


def test_no_key_is_400_and_a_wrong_one_401(cloud: Cloud) -> None:
    """Without an Authorization header it is said that there is none."""
    made(cloud)
    missing = score(cloud, None)
    assert (missing.status, missing.message) == (
        400,
        "Auth token must be passed as a header called Authorization",
    )
    assert score(cloud, "Bearer wrong").status == 401


def test_the_key_of_another_endpoint_is_401(cloud: Cloud) -> None:
    """Each endpoint has keys of its own."""
    made(cloud)
    made(cloud, name="other")
    assert score(cloud, f"Bearer {keys(cloud, 'serverlessEndpoints/other')[0]}").status == 401


@pytest.mark.parametrize(("kind", "changed"), [("Primary", 0), ("secondary", 1)])
def test_a_key_is_replaced_at_once(cloud: Cloud, kind: str, changed: int) -> None:
    """The answer has both keys; the old one is no longer good, and the other still is."""
    made(cloud)
    before = keys(cloud)
    answer = ask(cloud, "POST", f"{S}/regenerateKeys", {"keyType": kind, "keyValue": before[changed]})
    after = keys(cloud)
    assert answer.body == {"primaryKey": after[0], "secondaryKey": after[1]}
    assert before[changed] != after[changed]
    assert before[1 - changed] == after[1 - changed]
    assert score(cloud, before[changed]).status == 401
    assert score(cloud, after[changed]).status == 200


def test_a_key_may_be_given(cloud: Cloud) -> None:
    """A key of one's own choice replaces the present one; of another kind there is none."""
    made(cloud)
    ask(cloud, "POST", f"{S}/regenerateKeys", {"keyType": "Primary", "keyValue": "mine"})
    assert keys(cloud)[0] == "mine"
    assert ask(cloud, "POST", f"{S}/regenerateKeys", {"keyType": "Third"}).status == 400


def test_an_endpoint_may_take_tokens_alone(cloud: Cloud) -> None:
    """Of auth mode AAD it takes Entra's tokens for ml.azure.com, and has no keys to give."""
    made(cloud, authMode="aad")
    assert score(cloud, f"Bearer {cloud.identity.issue(ML_AUDIENCE)[0]}").status == 200
    assert score(cloud, f"Bearer {cloud.identity.issue(ARM_AUDIENCE)[0]}").status == 401
    [endpoint] = cloud.serverless_endpoints.all()
    assert score(cloud, f"Bearer {endpoint.keys['Primary']}").status == 401
    assert "takes no keys" in ask(cloud, "POST", f"{S}/listKeys").message


def test_an_endpoint_may_take_both(cloud: Cloud) -> None:
    """Of auth mode KeyAndAAD it takes keys and tokens; one of keys alone takes no token."""
    token = f"Bearer {cloud.identity.issue(ML_AUDIENCE)[0]}"
    made(cloud, authMode="KeyAndAAD")
    assert score(cloud, token).status == score(cloud, keys(cloud)[0]).status == 200
    wait(cloud, put_serverless(cloud, authMode="Key"))
    assert score(cloud, cloud.identity.issue(ML_AUDIENCE)[0]).status == 401


def test_a_request_belongs_to_the_cloud_of_its_key_or_host(cloud: Cloud) -> None:
    """A key decides, however it is written, and else the host."""
    made(cloud)
    url = "https://phi-test.eastus.models.ai.azure.com/info"
    other = Cloud()
    for written in (keys(cloud)[0], f"Bearer {keys(cloud)[1]}"):
        elsewhere = Request("GET", url.replace("phi-test", "other"), {"authorization": written})
        assert (cloud.owns(elsewhere), other.owns(elsewhere)) == (True, False)
    assert (cloud.owns(Request("GET", url, {})), other.owns(Request("GET", url, {}))) == (True, False)


# Costs


def test_an_endpoint_costs_nothing_by_the_hour(cloud: Cloud) -> None:
    """A catalogue's model is paid by the token."""
    subscribe(cloud)
    cloud.clock.advance(timedelta(hours=1))
    made(cloud)
    made(cloud, MISTRAL, "other")
    assert cloud.bill().rows == ()


def test_hosting_a_fine_tuned_model_costs_by_the_hour(cloud: Cloud) -> None:
    """From its acceptance until it is gone, asked or not; what an hour costs is not known."""
    model = tuned(cloud)
    accepted = cloud.clock.now()
    put_serverless(cloud, model)
    cloud.clock.advance(timedelta(hours=5))
    [leak] = cloud.bill().leaks
    assert (leak.resource, leak.kind, leak.started, leak.hours) == (
        "phi-test",
        "serverless endpoint",
        accepted,
        5.0,
    )
    assert leak.cost_usd is None
    deleting = ask(cloud, "DELETE", S)
    assert cloud.bill().leaks == ()
    wait(cloud, deleting)
    gone = cloud.clock.now()
    cloud.clock.advance(timedelta(hours=1))
    [row] = [row for row in cloud.bill().rows if row.kind == "serverless endpoint"]
    assert row.ended == gone
    assert "unknown" in str(cloud.bill())


def test_the_prompt_of_these_tests_is_in_the_training_rows(cloud: Cloud) -> None:
    """An untrained model has another answer, so that the one expected above is not there by itself."""
    made(cloud)
    answer = score(cloud, keys(cloud)[0], {"messages": [{"role": "user", "content": PROMPT}]})
    assert answer.body["choices"][0]["message"]["content"] != REPLY
