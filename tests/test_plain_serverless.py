"""Serverless endpoints and marketplace subscriptions with the real azure-ai-ml client."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import requests
from asking import ask
from azure.ai.ml import MLClient
from azure.ai.ml.entities import MarketplaceSubscription, ServerlessEndpoint
from azure.ai.ml.exceptions import ValidationException
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from serverless import MISTRAL, PHI, PROMPT, REPLY, tuned

from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import Answer, OperationFails

pytest_plugins = ["pytester"]


@pytest.fixture
def azure() -> Iterator[FakeAzure]:
    """A fake that takes over the requests of this process."""
    with FakeAzure() as azure:
        yield azure


@pytest.fixture
def client(azure: FakeAzure) -> MLClient:
    """A real client of the workspace."""
    return azure.ml_client()


def deploy(client: MLClient, model: str = PHI, name: str = "phi-test") -> ServerlessEndpoint:
    """Make an endpoint and wait until it is there."""
    wanted = ServerlessEndpoint(name=name, model_id=model, tags={"team": "phi"})
    return client.serverless_endpoints.begin_create_or_update(wanted).result()


def chat(endpoint: ServerlessEndpoint, key: str) -> requests.Response:
    """Ask an endpoint, as Azure's page does."""
    body = {"messages": [{"role": "user", "content": PROMPT}], "do_sample": False}
    headers = {"Authorization": f"Bearer {key}"}
    return requests.post(f"{endpoint.scoring_uri}/v1/chat/completions", json=body, headers=headers, timeout=9)


def test_the_real_client_deploys_asks_and_deletes(azure: FakeAzure, client: MLClient) -> None:
    """The whole life of an endpoint of a Phi model, and what is seen of it in between."""
    endpoint = deploy(client)
    assert (endpoint.provisioning_state, endpoint.auth_mode, endpoint.location) == (
        "succeeded",
        "Key",
        "eastus",
    )
    assert endpoint.scoring_uri == "https://phi-test.eastus.models.ai.azure.com"
    keys = client.serverless_endpoints.get_keys("phi-test")
    assert chat(endpoint, keys.primary_key).json()["model"] == "Phi-4"
    assert chat(endpoint, keys.secondary_key).status_code == 200
    assert chat(endpoint, "wrong").status_code == 401

    [listed] = client.serverless_endpoints.list()
    assert (listed.name, listed.tags, listed.model_id) == ("phi-test", {"team": "phi"}, PHI)
    kept = azure.serverless_endpoints["phi-test"]
    assert (kept.model_id, kept.endpoint_state, kept.spec.tags) == (PHI, "Online", {"team": "phi"})
    assert listed.as_dict()["system_data"]["created_by"] == "phi@example.com"

    client.serverless_endpoints.begin_delete("phi-test").result()
    assert azure.serverless_endpoints == {}
    with pytest.raises(ResourceNotFoundError, match="phi-test"):
        client.serverless_endpoints.get("phi-test")


def test_what_the_real_client_sends(azure: FakeAzure, client: MLClient) -> None:
    """The workspace is read for its location, and no auth mode is sent, whatever was asked for (wire.md 11)."""
    wanted = ServerlessEndpoint(name="phi-test", model_id=PHI, auth_mode="aad")
    client.serverless_endpoints.begin_create_or_update(wanted).result()
    azure.journal.expect("GET */workspaces/phi-lab", "PUT */serverlessEndpoints/phi-test")
    [put] = azure.journal.filter(method="PUT")
    assert json.loads(put.body) == {
        "location": "eastus",
        "sku": {"name": "Consumption"},
        "properties": {"modelSettings": {"modelId": PHI}},
    }
    assert azure.serverless_endpoints["phi-test"].spec.auth_mode == "Key"


def test_the_real_client_refuses_a_version_itself(azure: FakeAzure, client: MLClient) -> None:
    """The id of a registry's model has no version here."""
    with pytest.raises(ValidationException, match="specific model version"):
        deploy(client, f"{PHI}/versions/8")
    assert not azure.journal.filter(method="PUT")


def test_the_real_client_cannot_replace_a_key(client: MLClient) -> None:
    """In 1.35.2 it passes its own layer below a name that is not there, after it has read the keys.

    When this fails, a newer azure-ai-ml has mended it.
    """
    deploy(client)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'name'"):
        client.serverless_endpoints.begin_regenerate_keys("phi-test")


def test_the_real_client_deploys_a_fine_tuned_model(azure: FakeAzure, client: MLClient) -> None:
    """It is named by the id of Azure's page, or by the one that the client itself reads."""
    model = tuned(azure.cloud)
    for name, model_id in (("one", model), ("two", client.models.get("facts", version="1").id)):
        endpoint = deploy(client, model_id, name)
        key = client.serverless_endpoints.get_keys(name).primary_key
        assert chat(endpoint, key).json()["choices"][0]["message"]["content"] == REPLY
    assert [row.resource for row in azure.billing().leaks] == ["one", "two"]


def test_the_real_client_subscribes_to_a_third_partys_model(azure: FakeAzure, client: MLClient) -> None:
    """Without a subscription the model is refused; when it ends, the endpoint is suspended."""
    with pytest.raises(HttpResponseError, match="not subscribed") as refused:
        deploy(client, MISTRAL)
    assert refused.value.status_code == 400

    wanted = MarketplaceSubscription(name="mistral", model_id=MISTRAL)
    made = client.marketplace_subscriptions.begin_create_or_update(wanted).result()
    assert (made.status, made.provisioning_state) == ("subscribed", "succeeded")
    assert made.marketplace_plan.offer_id == "mistral-large-2407-offer"
    endpoint = deploy(client, MISTRAL)
    key = client.serverless_endpoints.get_keys("phi-test").primary_key
    assert chat(endpoint, key).status_code == 200
    assert [one.name for one in client.marketplace_subscriptions.list()] == ["mistral"]
    assert client.marketplace_subscriptions.get("mistral").as_dict()["model_id"] == MISTRAL
    assert azure.marketplace_subscriptions["mistral"].model_id == MISTRAL

    client.marketplace_subscriptions.begin_delete("mistral").result()
    assert azure.marketplace_subscriptions == {}
    assert azure.serverless_endpoints["phi-test"].endpoint_state == "Suspended"
    assert chat(endpoint, key).status_code == 403


def test_the_real_client_reads_a_pending_subscription(azure: FakeAzure, client: MLClient) -> None:
    """A list may hold one that is not fulfilled yet."""
    body = {"properties": {"modelId": MISTRAL}}
    ask(azure.cloud, "PUT", "marketplaceSubscriptions/mistral", body)
    [listed] = client.marketplace_subscriptions.list()
    assert (listed.status, listed.provisioning_state) == ("pending_fulfillment_start", "creating")


def test_an_offer_can_be_published(azure: FakeAzure, client: MLClient) -> None:
    """The marketplace offers what a test wants it to."""
    model = "azureml://registries/azureml-nobody/models/Talker-1"
    wanted = MarketplaceSubscription(name="talker", model_id=model)
    with pytest.raises(HttpResponseError, match="no offer"):
        client.marketplace_subscriptions.begin_create_or_update(wanted)
    azure.publish_offer(model)
    client.marketplace_subscriptions.begin_create_or_update(wanted).result()
    assert deploy(client, model).provisioning_state == "succeeded"


def test_a_name_of_somebody_else_is_refused(azure: FakeAzure, client: MLClient) -> None:
    """A name can be reserved for both kinds of endpoint."""
    azure.reserve_endpoint_name("phi-test")
    with pytest.raises(HttpResponseError, match="name 'phi-test' is not available"):
        deploy(client)
    assert azure.serverless_endpoints == {}


def test_the_real_client_tells_why_a_creation_failed(azure: FakeAzure, client: MLClient) -> None:
    """The poller raises with the operation's code and message."""
    azure.faults.next(OperationFails(kind="mfe*", code="NoCapacity", message="Come back later."))
    with pytest.raises(HttpResponseError, match=r"\(NoCapacity\) Come back later\."):
        deploy(client)
    assert client.serverless_endpoints.get("phi-test").provisioning_state == "failed"
    assert client.serverless_endpoints.get("phi-test").scoring_uri is None


def test_the_real_client_reads_too_early() -> None:
    """It reads what it has made once, as soon as the operation is done, and takes 404 for an answer."""
    with FakeAzure(visible_after_reads=1) as azure:
        client = azure.ml_client()
        with pytest.raises(HttpResponseError, match="not found"):
            deploy(client)
        assert client.serverless_endpoints.get("phi-test").provisioning_state == "succeeded"


def test_a_rate_limit_is_a_fault(azure: FakeAzure, client: MLClient) -> None:
    """A host's requests can be refused like all others."""
    endpoint = deploy(client)
    key = client.serverless_endpoints.get_keys("phi-test").primary_key
    azure.faults.next(Answer("POST *.models.ai.azure.com/*", 429, headers={"Retry-After": "7"}))
    assert chat(endpoint, key).headers["Retry-After"] == "7"
    assert chat(endpoint, key).status_code == 200


def test_requests_go_to_the_fake_whose_key_they_carry() -> None:
    """Two fakes may have endpoints of one name, with keys of their own, with Bearer or without."""
    with FakeAzure() as one, FakeAzure() as two:
        ends = [deploy(azure.ml_client()) for azure in (one, two)]
        for azure, endpoint in zip((one, two), ends, strict=True):
            key = azure.ml_client().serverless_endpoints.get_keys("phi-test").primary_key
            azure.journal.clear()
            url = f"{endpoint.scoring_uri}/info"
            for written in (key, f"Bearer {key}"):
                assert requests.get(url, headers={"Authorization": written}, timeout=9).status_code == 200
            assert len(azure.journal) == 2


def test_a_hosted_fine_tune_that_is_left_fails_the_test(pytester: pytest.Pytester) -> None:
    """Hosting costs by the hour, so the fixture complains; a catalogue's model may stay."""
    pytester.makepyfile(
        """
        import serverless

        def test_tuned(fake_azure):
            serverless.made(fake_azure.cloud, serverless.tuned(fake_azure.cloud))

        def test_phi(fake_azure):
            serverless.made(fake_azure.cloud)
        """
    )
    # The entry point is there only where the project is installed.
    done = pytester.runpytest("-p", "no:phi_finetune", "-p", "phi_finetune.testing.plugin")
    done.assert_outcomes(passed=2, errors=1)
    done.stdout.fnmatch_lines(["*StillBilling: the test left this running:*"])
