from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import pytest
from azure.ai.ml.entities import ManagedOnlineEndpoint
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from watched_client import WatchedClient

Make = Callable[..., ManagedOnlineEndpoint]


@pytest.fixture
def make(ml: WatchedClient, unique: Callable[[str], str], afterwards: ExitStack) -> Make:
    """Make an endpoint, which costs nothing without a deployment; it is deleted in the end."""

    def make(**fields: object) -> ManagedOnlineEndpoint:
        name = unique("e")
        afterwards.callback(lambda: ml.online_endpoints.begin_delete(name).wait())
        wanted = ManagedOnlineEndpoint(name=name, **fields)
        return ml.online_endpoints.begin_create_or_update(wanted).result()

    return make


@pytest.mark.operation(
    "online_endpoints.begin_create_or_update:ManagedOnlineEndpoint", "online_endpoints.get"
)
def test_create_and_get(ml: WatchedClient, make: Make) -> None:
    """An endpoint has an address in its region, keys, an identity and no traffic (wire.md 9)."""
    made = make(auth_mode="key", tags={"who": "contract"}, description="a test")
    found = ml.online_endpoints.get(made.name)
    assert (found.name, found.provisioning_state, found.auth_mode) == (made.name, "Succeeded", "key")
    assert (found.tags, found.description, found.traffic) == ({"who": "contract"}, "a test", {})
    assert found.scoring_uri.startswith(f"https://{made.name}.")
    assert found.scoring_uri.endswith(".inference.ml.azure.com/score")
    assert found.identity.type.lower().replace("_", "") == "systemassigned"


@pytest.mark.operation("online_endpoints.begin_create_or_update:ManagedOnlineEndpoint")
def test_update(ml: WatchedClient, make: Make) -> None:
    """Tags and description change, and the address stays."""
    made = make()
    made.tags, made.description = {"a": "b"}, "better"
    changed = ml.online_endpoints.begin_create_or_update(made).result()
    assert (changed.tags["a"], changed.description) == ("b", "better")
    assert changed.scoring_uri == made.scoring_uri


@pytest.mark.operation("online_endpoints.begin_create_or_update:ManagedOnlineEndpoint")
def test_traffic_goes_to_deployments_that_there_are(ml: WatchedClient, make: Make) -> None:
    """The client does not notice a deployment that is missing; the service refuses it (wire.md 9)."""
    made = make()
    made.traffic = {"nobody": 100}
    with pytest.raises(HttpResponseError) as refused:
        ml.online_endpoints.begin_create_or_update(made).result()
    assert refused.value.status_code in (200, 400)  # at once, or by the operation, which is read with 200


@pytest.mark.operation("online_endpoints.list")
def test_list(ml: WatchedClient, make: Make) -> None:
    """The endpoint is among all."""
    name = make().name
    assert name in [one.name for one in ml.online_endpoints.list()]


@pytest.mark.operation("online_endpoints.get_keys", "online_endpoints.begin_regenerate_keys")
def test_keys(ml: WatchedClient, make: Make) -> None:
    """There are two keys; one is made anew, and the other stays."""
    name = make(auth_mode="key").name
    before = ml.online_endpoints.get_keys(name)
    assert before.primary_key != before.secondary_key
    ml.online_endpoints.begin_regenerate_keys(name, key_type="secondary").wait()
    after = ml.online_endpoints.get_keys(name)
    assert after.primary_key == before.primary_key
    assert after.secondary_key != before.secondary_key


@pytest.mark.operation("online_endpoints.get_keys")
def test_tokens(ml: WatchedClient, make: Make) -> None:
    """An endpoint with tokens of Azure ML gives one instead of keys, and says when it expires."""
    token = ml.online_endpoints.get_keys(make(auth_mode="aml_token").name)
    assert token.access_token
    assert token.expiry_time_utc > 0


@pytest.mark.operation("online_endpoints.begin_delete")
def test_delete(ml: WatchedClient, make: Make) -> None:
    """A deleted endpoint is gone, and deleting it again is no error (wire.md 9)."""
    name = make().name
    ml.online_endpoints.begin_delete(name).wait()
    with pytest.raises(ResourceNotFoundError):
        ml.online_endpoints.get(name)
    ml.online_endpoints.begin_delete(name).wait()


@pytest.mark.operation("online_endpoints.get")
def test_a_missing_one_is_not_found(ml: WatchedClient, unique: Callable[[str], str]) -> None:
    """It is a 404."""
    with pytest.raises(ResourceNotFoundError):
        ml.online_endpoints.get(unique("e"))
