from __future__ import annotations

import pytest
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
