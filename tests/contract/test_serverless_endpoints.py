from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import pytest
from azure.ai.ml.entities import MarketplaceSubscription, ServerlessEndpoint
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from watched_client import WatchedClient

PHI = "azureml://registries/azureml/models/Phi-4"
MISTRAL = "azureml://registries/azureml-mistral/models/Mistral-large-2407"
"""A model of a third party, which is subscribed to before it is deployed."""

Make = Callable[..., ServerlessEndpoint]


@pytest.fixture
def make(ml: WatchedClient, unique: Callable[[str], str], afterwards: ExitStack) -> Make:
    """Make an endpoint of Phi-4, which costs nothing until it is asked; it is deleted in the end."""
    name = unique("s")
    afterwards.callback(lambda: ml.serverless_endpoints.begin_delete(name).wait())

    def make(**fields: object) -> ServerlessEndpoint:
        wanted = ServerlessEndpoint(name=name, model_id=PHI, **fields)
        return ml.serverless_endpoints.begin_create_or_update(wanted).result()

    return make


@pytest.mark.operation("serverless_endpoints.begin_create_or_update", "serverless_endpoints.get")
def test_create_and_get(ml: WatchedClient, make: Make) -> None:
    """An endpoint serves a model on a host of its own, and takes a key (wire.md 11)."""
    made = make(tags={"who": "contract"})
    found = ml.serverless_endpoints.get(made.name)
    for one in (made, found):
        assert (one.name, one.model_id, one.tags) == (made.name, PHI, {"who": "contract"})
        assert (one.provisioning_state, one.auth_mode) == ("succeeded", "Key")
    assert found.scoring_uri == f"https://{made.name}.{found.location}.models.ai.azure.com"


@pytest.mark.operation("serverless_endpoints.begin_create_or_update")
def test_update(ml: WatchedClient, make: Make) -> None:
    """Tags change, and the address stays."""
    made = make()
    changed = make(tags={"a": "b"})
    assert (changed.tags, changed.scoring_uri) == ({"a": "b"}, made.scoring_uri)


@pytest.mark.operation("serverless_endpoints.begin_create_or_update")
def test_a_model_that_there_is_not_is_refused(ml: WatchedClient, unique: Callable[[str], str]) -> None:
    """The service looks the model up; the client does not."""
    model = "azureml://registries/azureml/models/pf-no-such-model"
    with pytest.raises(HttpResponseError):
        ml.serverless_endpoints.begin_create_or_update(
            ServerlessEndpoint(name=unique("s"), model_id=model)
        ).result()


@pytest.mark.operation("serverless_endpoints.list")
def test_list(ml: WatchedClient, make: Make) -> None:
    """The endpoint is among all."""
    name = make().name
    assert name in [one.name for one in ml.serverless_endpoints.list()]


@pytest.mark.operation("serverless_endpoints.get_keys")
def test_keys(ml: WatchedClient, make: Make) -> None:
    """There are two keys, which stay."""
    name = make().name
    keys = ml.serverless_endpoints.get_keys(name)
    assert keys.primary_key != keys.secondary_key
    again = ml.serverless_endpoints.get_keys(name)
    assert (again.primary_key, again.secondary_key) == (keys.primary_key, keys.secondary_key)


@pytest.mark.operation(
    "serverless_endpoints.begin_regenerate_keys",
    partial="azure-ai-ml 1.35.2 reads the keys, and fails before it asks for a new one.",
)
def test_a_key_cannot_be_replaced(ml: WatchedClient, make: Make) -> None:
    """The client passes no name to its own layer below. When this fails, a newer one has mended it."""
    name = make().name
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'name'"):
        ml.serverless_endpoints.begin_regenerate_keys(name)


@pytest.mark.operation("serverless_endpoints.begin_delete", "serverless_endpoints.get")
def test_delete(ml: WatchedClient, make: Make) -> None:
    """A deleted endpoint is gone."""
    name = make().name
    ml.serverless_endpoints.begin_delete(name).wait()
    with pytest.raises(ResourceNotFoundError):
        ml.serverless_endpoints.get(name)


@pytest.fixture
def subscription(
    ml: WatchedClient, unique: Callable[[str], str], afterwards: ExitStack
) -> MarketplaceSubscription:
    """A subscription to a model, which is ended at the end."""
    name = unique("m")
    afterwards.callback(lambda: ml.marketplace_subscriptions.begin_delete(name).wait())
    wanted = MarketplaceSubscription(name=name, model_id=MISTRAL)
    return ml.marketplace_subscriptions.begin_create_or_update(wanted).result()


@pytest.mark.costs
@pytest.mark.operation("marketplace_subscriptions.begin_create_or_update", "marketplace_subscriptions.get")
def test_subscribe(ml: WatchedClient, subscription: MarketplaceSubscription) -> None:
    """A subscription tells the offer that it is to (wire.md 11)."""
    for found in (subscription, ml.marketplace_subscriptions.get(subscription.name)):
        assert (found.name, found.model_id) == (subscription.name, MISTRAL)
        assert (found.status, found.provisioning_state) == ("subscribed", "succeeded")
        assert found.marketplace_plan.publisher_id
        assert found.marketplace_plan.offer_id


@pytest.mark.costs
@pytest.mark.operation("marketplace_subscriptions.list")
def test_list_subscriptions(ml: WatchedClient, subscription: MarketplaceSubscription) -> None:
    """The subscription is among all."""
    assert subscription.name in [one.name for one in ml.marketplace_subscriptions.list()]


@pytest.mark.costs
@pytest.mark.operation("marketplace_subscriptions.begin_delete", "marketplace_subscriptions.get")
def test_unsubscribe(ml: WatchedClient, subscription: MarketplaceSubscription) -> None:
    """A subscription that has ended is gone."""
    ml.marketplace_subscriptions.begin_delete(subscription.name).wait()
    with pytest.raises(ResourceNotFoundError):
        ml.marketplace_subscriptions.get(subscription.name)


@pytest.mark.operation("serverless_endpoints.get", "marketplace_subscriptions.get")
def test_a_missing_one_is_not_found(ml: WatchedClient, unique: Callable[[str], str]) -> None:
    """It is a 404."""
    with pytest.raises(ResourceNotFoundError):
        ml.serverless_endpoints.get(unique("s"))
    with pytest.raises(ResourceNotFoundError):
        ml.marketplace_subscriptions.get(unique("m"))
