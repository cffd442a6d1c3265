from __future__ import annotations

import pytest
from azure.ai.ml.entities import CapabilityHost, FeatureStore
from azure.ai.ml.exceptions import MlException
from azure.core.exceptions import ResourceNotFoundError
from watched_client import WatchedClient


@pytest.mark.operation("workspaces.get")
def test_get(ml: WatchedClient) -> None:
    """A workspace tells where it is, and where its runs are tracked (service.md)."""
    found = ml.workspaces.get()
    assert (found.name, found.resource_group) == (ml.workspace_name, ml.resource_group_name)
    assert found.id.lower().endswith(f"/microsoft.machinelearningservices/workspaces/{found.name}".lower())
    assert found.discovery_url.startswith("https://")
    assert found.mlflow_tracking_uri.startswith(f"azureml://{found.location}.api.azureml.ms/mlflow/")


@pytest.mark.operation("workspaces.get")
def test_a_missing_one_is_not_found(ml: WatchedClient) -> None:
    """Azure Resource Manager answers 404 with a code."""
    with pytest.raises(ResourceNotFoundError) as refused:
        ml.workspaces.get("pf-no-such-workspace")
    assert refused.value.error.code == "ResourceNotFound"


@pytest.mark.operation("workspaces.list", partial="There is one workspace.")
@pytest.mark.parametrize("scope", ["resource_group", "subscription"])
def test_list(ml: WatchedClient, scope: str) -> None:
    """The workspace is among those of its group, and of its subscription."""
    assert ml.workspace_name in [one.name for one in ml.workspaces.list(scope=scope)]


@pytest.mark.operation(
    "feature_stores.list",
    "feature_stores.get",
    "feature_stores.begin_delete",
    "feature_stores.begin_update",
    partial="There is none.",
)
def test_feature_stores(ml: WatchedClient) -> None:
    """A feature store is a workspace of another kind: this one is none, and one that is missing is not found."""
    assert ml.workspace_name not in [store.name for store in ml.feature_stores.list()]
    with pytest.raises(ResourceNotFoundError):
        ml.feature_stores.get("pf-no-such-store")
    with pytest.raises(ResourceNotFoundError):
        ml.feature_stores.begin_delete("pf-no-such-store")
    with pytest.raises(ResourceNotFoundError):
        ml.feature_stores.begin_update(FeatureStore(name="pf-no-such-store"))


@pytest.mark.operation(
    "capability_hosts.begin_create_or_update",
    partial="The client makes one in a hub or project alone, and there is none.",
)
def test_a_workspace_gets_no_capability_host(ml: WatchedClient) -> None:
    """The client reads what kind of workspace it is, and goes no further."""
    with pytest.raises(MlException, match="Workspace kind should be either 'Hub' or 'Project'"):
        ml.capability_hosts.begin_create_or_update(CapabilityHost(name="pf-host"))
