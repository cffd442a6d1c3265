from __future__ import annotations

import pytest
from asking import ask
from azure.core.exceptions import HttpResponseError

from phi_finetune.emulator.cloud import ROUTER, Cloud
from phi_finetune.emulator.core.actions import action_of
from phi_finetune.testing import FakeAzure

ML = "Microsoft.MachineLearningServices"
PERMISSIONS = "providers/Microsoft.Authorization/permissions"
ROUTES = {route.name.replace("management.azure.com", "ARM"): action_of(route) for route in ROUTER.routes}


def action(method: str, ends: str) -> str | None:
    """The action of the one route of a method whose path ends so."""
    (found,) = {
        value for name, value in ROUTES.items() if name.startswith(f"{method} ARM") and name.endswith(ends)
    }
    return found


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/workspaces/{workspace}", "workspaces/read"),
        ("GET", "/computes", "workspaces/computes/read"),
        ("PUT", "/computes/{compute}", "workspaces/computes/write"),
        ("DELETE", "/computes/{compute}", "workspaces/computes/delete"),
        ("PATCH", "/onlineEndpoints/{endpoint}", "workspaces/onlineEndpoints/write"),
        ("POST", "/onlineEndpoints/{endpoint}/listKeys", "workspaces/onlineEndpoints/listKeys/action"),
        ("PUT", "/deployments/{deployment}", "workspaces/onlineEndpoints/deployments/write"),
        ("POST", "/datastores/{datastore}/listSecrets", "workspaces/datastores/listSecrets/action"),
        ("POST", "/jobs/{job}/cancel", "workspaces/jobs/cancel/action"),
        ("GET", "/vmSizes", "locations/vmSizes/read"),
    ],
)
def test_an_action_is_made_of_the_path(method: str, path: str, expected: str) -> None:
    """As Azure Resource Manager makes it."""
    assert action(method, path) == f"{ML}/{expected}"


def test_only_what_opens_otherwise_needs_no_right() -> None:
    """Every request to Azure Resource Manager, run history and MLflow has its action."""
    for route in ROUTER.routes:
        of_registry = "/registries/" in route.path or "/assetstore/" in route.path
        follows = "/locations/" in route.path and route.path.endswith("}")
        free = route.audience in ("none", "sas", "handler") or of_registry or follows
        assert (action_of(route) is None) == free, route.name


def test_a_denied_action_is_refused_in_arms_words(cloud: Cloud) -> None:
    """It names the action and the scope; nothing was done, and other actions are as before."""
    cloud.access.deny(f"{ML}/workspaces/ComputeS/write")
    refused = ask(cloud, "PUT", "computes/gpu", {})
    assert (refused.status, refused.code) == (403, "AuthorizationFailed")
    assert (
        f"does not have authorization to perform action '{ML}/workspaces/computes/write'" in refused.message
    )
    assert f"over scope '{cloud.workspace.id}/computes/gpu'" in refused.message
    assert ask(cloud, "GET", "computes").body["value"] == []


def test_the_permissions_leave_out_what_is_denied(cloud: Cloud) -> None:
    """At first everything is permitted."""
    (before,) = ask(cloud, "GET", PERMISSIONS).body["value"]
    assert before == {"actions": ["*"], "notActions": [], "dataActions": [], "notDataActions": []}
    cloud.access.deny(f"{ML}/workspaces/jobs/write")
    (after,) = ask(cloud, "GET", PERMISSIONS).body["value"]
    assert after["notActions"] == [f"{ML}/workspaces/jobs/write"]


def test_an_action_that_nothing_asks_for_cannot_be_denied(cloud: Cloud) -> None:
    """A typing error would make a test that proves nothing."""
    with pytest.raises(ValueError, match="computes/wirte"):
        cloud.access.deny(f"{ML}/workspaces/computes/wirte")


def test_the_real_client_is_refused() -> None:
    """As any caller."""
    with FakeAzure() as azure:
        azure.deny(f"{ML}/workspaces/onlineEndpoints/read")
        with pytest.raises(HttpResponseError, match="perform action") as caught:
            list(azure.ml_client().online_endpoints.list())
        assert caught.value.status_code == 403


def test_a_denied_run_is_refused_on_the_data_plane() -> None:
    """Run history asks for the right as well."""
    with FakeAzure() as azure:
        azure.deny(f"{ML}/workspaces/experiments/runs/read")
        url = f"{azure.cloud.workspace.api}/history/v1.0{azure.cloud.workspace.id}/runs/a/details"
        assert ask(azure.cloud, "GET", url).status == 403


@pytest.fixture
def cloud() -> Cloud:
    """A cloud of the test's own."""
    return Cloud()
