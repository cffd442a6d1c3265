from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from azure.ai.ml.entities import AmlCompute, Model
from watched_client import WatchedClient


@pytest.mark.operation("MLClient.create_or_update")
def test_create_or_update(
    ml: WatchedClient, tmp_path: Path, unique: Callable[[str], str], afterwards: ExitStack
) -> None:
    """What is made at once can be made by the client itself."""
    path = tmp_path / "weights.txt"
    path.write_text("some weights")
    made = ml.create_or_update(Model(name=unique("model"), version="1", path=str(path)))
    afterwards.callback(lambda: ml.models.archive(made.name))
    assert ml.models.get(made.name, version="1").id == made.id


@pytest.mark.operation("MLClient.begin_create_or_update")
def test_begin_create_or_update(
    ml: WatchedClient, unique: Callable[[str], str], afterwards: ExitStack
) -> None:
    """What takes time can be made by the client itself."""
    name = unique("c")
    afterwards.callback(lambda: ml.compute.begin_delete(name).wait())
    ml.begin_create_or_update(AmlCompute(name=name, size="Standard_DS3_v2", max_instances=1)).wait()
    assert ml.compute.get(name).max_instances == 1


@pytest.mark.operation("MLClient.from_config", local=True)
def test_from_config(ml: WatchedClient, tmp_path: Path) -> None:
    """A file says where the workspace is, and nothing is asked."""
    given = {
        "subscription_id": ml.subscription_id,
        "resource_group": ml.resource_group_name,
        "workspace_name": ml.workspace_name,
    }
    (tmp_path / "config.json").write_text(json.dumps(given))
    found = ml.from_config(object(), path=str(tmp_path))
    assert (found.subscription_id, found.workspace_name) == (ml.subscription_id, ml.workspace_name)
