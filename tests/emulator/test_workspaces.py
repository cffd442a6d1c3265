from __future__ import annotations

import pytest
from asking import ask

from phi_finetune.emulator.cloud import Cloud
from phi_finetune.testing import FakeAzure


@pytest.mark.parametrize("scope", ["resource_group", "subscription"])
def test_client_lists_workspaces(scope: str) -> None:
    """The real client finds the one workspace in its group and in its subscription."""
    with FakeAzure() as azure:
        [found] = azure.ml_client().workspaces.list(scope=scope)
        assert (found.name, found.location) == (azure.workspace_name, azure.region)


def test_client_asks_for_kinds() -> None:
    """A list of other kinds of workspace is empty."""
    with FakeAzure() as azure:
        workspaces = azure.ml_client().workspaces
        assert [one.name for one in workspaces.list(filtered_kinds=["default", "hub"])] == ["phi-lab"]
        assert list(workspaces.list(filtered_kinds="hub")) == []


def test_another_group_is_not_there() -> None:
    """A resource group that does not exist has no list of workspaces."""
    cloud = Cloud()
    url = f"https://management.azure.com/subscriptions/{cloud.subscription_id}/resourceGroups/other/providers"
    refused = ask(cloud, "GET", f"{url}/Microsoft.MachineLearningServices/workspaces?api-version=2024-10-01")
    assert (refused.status, refused.code) == (404, "ResourceGroupNotFound")
