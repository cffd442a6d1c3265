from __future__ import annotations

from datetime import timedelta

import pytest
from asking import ask
from online import wait
from serverless import MISTRAL, PHI, S, keys, made, properties, put_serverless, score, subscribe

from phi_finetune.emulator.cloud import Cloud
from phi_finetune.emulator.core.faults import OperationFails

M = "marketplaceSubscriptions/mistral"
OTHER = "azureml://registries/azureml-nobody/models/Talker-1"


@pytest.fixture
def cloud() -> Cloud:
    """A cloud of its own."""
    return Cloud()


def subscribed(cloud: Cloud, model: str = MISTRAL, name: str = "mistral") -> None:
    """Subscribe to a model and let the time pass that it takes."""
    assert wait(cloud, subscribe(cloud, model, name))["status"] == "Succeeded"


# Subscriptions


def test_a_new_subscription_is_made_by_an_operation(cloud: Cloud) -> None:
    """It is not subscribed before the operation has ended."""
    answer = subscribe(cloud)
    assert answer.status == 201
    assert {"Azure-AsyncOperation", "Location"} <= answer.headers.keys()
    made = properties(cloud, M)
    assert (made["provisioningState"], made["marketplaceSubscriptionStatus"]) == (
        "Creating",
        "PendingFulfillmentStart",
    )
    assert wait(cloud, answer)["status"] == "Succeeded"
    made = properties(cloud, M)
    assert (made["provisioningState"], made["marketplaceSubscriptionStatus"]) == ("Succeeded", "Subscribed")
    assert made["modelId"] == MISTRAL
    assert made["marketplacePlan"]["offerId"] == "mistral-large-2407-offer"


def test_subscriptions_are_listed_and_found_in_any_case(cloud: Cloud) -> None:
    """A missing one is 404, and the answer names it."""
    subscribed(cloud)
    assert [one["name"] for one in ask(cloud, "GET", "marketplaceSubscriptions").body["value"]] == ["mistral"]
    assert ask(cloud, "GET", M.upper()).status == 200
    answer = ask(cloud, "GET", "marketplaceSubscriptions/none")
    assert (answer.status, answer.code) == (404, "UserError")
    assert "none" in answer.message


def test_the_same_again_is_the_same_subscription(cloud: Cloud) -> None:
    """Under way or done, nothing new begins."""
    first, again = subscribe(cloud), subscribe(cloud)
    assert (first.status, again.status) == (201, 200)
    assert first.headers["Azure-AsyncOperation"] == again.headers["Azure-AsyncOperation"]
    wait(cloud, first)
    assert subscribe(cloud).body["properties"]["provisioningState"] == "Succeeded"
    assert len(cloud.marketplace.all()) == 1


@pytest.mark.parametrize("model", [PHI, f"{MISTRAL}/versions/1", OTHER, ""])
def test_what_is_not_offered_cannot_be_subscribed_to(cloud: Cloud, model: str) -> None:
    """Microsoft's own models, versions, and what the marketplace does not know."""
    answer = subscribe(cloud, model)
    assert answer.status == 400
    assert "no offer" in answer.message
    assert cloud.marketplace.all() == ()


def test_a_name_that_breaks_the_rule_is_refused(cloud: Cloud) -> None:
    """The model's name may be the subscription's, unless it holds a dot."""
    assert subscribe(cloud, name="Mistral-large-2407").status == 201
    assert subscribe(cloud, name="Mistral.large").status == 400


def test_the_model_of_a_subscription_stays(cloud: Cloud) -> None:
    """Another model needs another subscription."""
    subscribed(cloud)
    cloud.marketplace.publish(OTHER)
    assert "cannot be changed" in subscribe(cloud, OTHER).message
    assert subscribe(cloud, OTHER, "other").status == 201


def test_a_failed_subscription_can_be_repeated(cloud: Cloud) -> None:
    """It is pending until then."""
    cloud.faults.next(OperationFails(kind="mfe*"))
    assert wait(cloud, subscribe(cloud))["status"] == "Failed"
    failed = properties(cloud, M)
    assert (failed["provisioningState"], failed["marketplaceSubscriptionStatus"]) == (
        "Failed",
        "PendingFulfillmentStart",
    )
    subscribed(cloud)
    assert properties(cloud, M)["marketplaceSubscriptionStatus"] == "Subscribed"


def test_a_subscription_is_ended_by_an_operation(cloud: Cloud) -> None:
    """It counts no more at once, and is gone at the end; ending what is not there is 204."""
    subscribed(cloud)
    answer = ask(cloud, "DELETE", M)
    assert answer.status == 202
    assert {"Azure-AsyncOperation", "Location"} <= answer.headers.keys()
    ending = properties(cloud, M)
    assert (ending["provisioningState"], ending["marketplaceSubscriptionStatus"]) == (
        "Deleting",
        "Unsubscribed",
    )
    assert subscribe(cloud).status == 409
    again = ask(cloud, "DELETE", M)
    assert again.headers["Azure-AsyncOperation"] == answer.headers["Azure-AsyncOperation"]
    wait(cloud, answer)
    assert ask(cloud, "GET", M).status == 404
    assert ask(cloud, "DELETE", M).status == 204


def test_ending_a_subscription_ends_its_fulfilment(cloud: Cloud) -> None:
    """What was under way is canceled, and a later one of that name is not touched by it."""
    making = subscribe(cloud)
    wait(cloud, ask(cloud, "DELETE", M))
    subscribe(cloud)
    assert wait(cloud, making)["error"]["code"] == "OperationCanceled"
    assert properties(cloud, M)["marketplaceSubscriptionStatus"] == "PendingFulfillmentStart"


# Endpoints


def test_a_third_partys_model_needs_a_subscription(cloud: Cloud) -> None:
    """It is refused without one, and while one is pending."""
    answer = put_serverless(cloud, MISTRAL)
    assert (answer.status, answer.code) == (400, "BadRequest")
    assert "marketplace subscription" in answer.message
    pending = subscribe(cloud)
    assert put_serverless(cloud, MISTRAL).status == 400
    wait(cloud, pending)
    made(cloud, MISTRAL)
    assert properties(cloud)["marketplaceSubscriptionId"] == f"{cloud.workspace.id}/{M}"
    info = score(cloud, keys(cloud)[0], method="GET", path="/info")
    assert info.body["model_name"] == "Mistral-large-2407"
    assert info.body["model_provider_name"] == "Mistral"


def test_a_subscription_is_to_one_model(cloud: Cloud) -> None:
    """Another model of the same publisher needs its own."""
    subscribed(cloud)
    assert put_serverless(cloud, MISTRAL.removesuffix("-2407")).status == 400


def test_endpoints_are_unusable_without_their_subscription(cloud: Cloud) -> None:
    """They are suspended when it ends, and answer again after the next one; others go on."""
    subscribed(cloud)
    made(cloud, MISTRAL)
    made(cloud, PHI, "phi")
    key, phi = keys(cloud)[0], keys(cloud, "serverlessEndpoints/phi")[0]
    assert score(cloud, key).status == 200
    ask(cloud, "DELETE", M)
    suspended = properties(cloud)
    assert (suspended["endpointState"], suspended["marketplaceSubscriptionId"]) == ("Suspended", None)
    assert score(cloud, key).status == 403
    assert score(cloud, "wrong").status == 401
    assert score(cloud, phi, name="phi").status == 200
    cloud.clock.advance(timedelta(hours=1))
    subscribed(cloud)
    assert properties(cloud)["endpointState"] == "Online"
    assert score(cloud, key).status == 200


@pytest.mark.parametrize(
    "model", [PHI, "azureml://registries/azureml-phi/models/Phi-4", f"{OTHER}/versions/1"]
)
def test_only_models_of_third_parties_can_be_offered(cloud: Cloud, model: str) -> None:
    """The error says which form an id has."""
    with pytest.raises(ValueError, match="azureml-PUBLISHER"):
        cloud.marketplace.publish(model)


def test_suspended_endpoints_can_be_deleted(cloud: Cloud) -> None:
    """Nothing of them is left."""
    subscribed(cloud)
    made(cloud, MISTRAL)
    wait(cloud, ask(cloud, "DELETE", M))
    wait(cloud, ask(cloud, "DELETE", S))
    assert (cloud.marketplace.all(), cloud.serverless_endpoints.all()) == ((), ())
