from __future__ import annotations

import pytest
from azure.core.exceptions import ResourceNotFoundError
from watched_client import WatchedClient


@pytest.mark.operation("datastores.get", "datastores.get_default")
def test_get(ml: WatchedClient) -> None:
    """The default datastore is a blob container, and is there under its name."""
    default = ml.datastores.get_default()
    assert (default.name, default.type.lower()) == ("workspaceblobstore", "azureblob")
    found = ml.datastores.get("workspaceblobstore")
    assert (found.account_name, found.container_name) == (default.account_name, default.container_name)
    assert found.account_name
    assert found.container_name


@pytest.mark.operation("datastores.list", partial="Of the four that a workspace is born with, two are there.")
def test_list(ml: WatchedClient) -> None:
    """The default one and the one for artifacts are listed."""
    assert {"workspaceblobstore", "workspaceartifactstore"} <= {one.name for one in ml.datastores.list()}


@pytest.mark.operation("datastores.get")
def test_a_missing_one_is_not_found(ml: WatchedClient) -> None:
    """It is a 404."""
    with pytest.raises(ResourceNotFoundError):
        ml.datastores.get("pf_no_such_datastore")
