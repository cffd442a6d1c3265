from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from azure.ai.ml.entities import Data
from azure.core.exceptions import ResourceNotFoundError
from watched_client import WatchedClient

Make = Callable[..., Data]


@pytest.fixture
def make(ml: WatchedClient, tmp_path: Path, unique: Callable[[str], str], afterwards: ExitStack) -> Make:
    """Register versions of one file, which are archived in the end."""
    name = unique("data")
    path = tmp_path / "rows.jsonl"
    path.write_text('{"messages": []}\n')
    afterwards.callback(lambda: ml.data.archive(name))

    def make(version: str | None = None, **fields: object) -> Data:
        given = {"path": str(path), "type": "uri_file", **fields}
        return ml.data.create_or_update(Data(name=name, version=version, **given))

    return make


@pytest.mark.operation("data.create_or_update", "data.get")
def test_create_and_get(ml: WatchedClient, make: Make) -> None:
    """A file is uploaded; it is found by version and as the latest, at a whole address (service.md)."""
    made = make("1", tags={"who": "contract"})
    assert made.path.startswith("azureml://subscriptions/")
    assert made.path.endswith("/rows.jsonl")
    for found in (ml.data.get(made.name, version="1"), ml.data.get(made.name, label="latest")):
        assert (found.id, found.path, found.type) == (made.id, made.path, "uri_file")
        assert found.tags == {"who": "contract"}


@pytest.mark.operation("data.create_or_update")
def test_a_short_address_comes_back_whole(make: Make) -> None:
    """An address of a datastore is expanded, and a folder's ends with a slash (service.md)."""
    made = make("1", path="azureml://datastores/workspaceblobstore/paths/some/folder", type="uri_folder")
    assert made.path.startswith("azureml://subscriptions/")
    assert made.path.endswith("/datastores/workspaceblobstore/paths/some/folder/")


@pytest.mark.operation("data.create_or_update")
def test_versions_are_counted(make: Make) -> None:
    """Without a version it gets the next (wire.md 6)."""
    assert [make().version for _ in range(2)] == ["1", "2"]


@pytest.mark.operation("data.list")
def test_list(ml: WatchedClient, make: Make) -> None:
    """Versions are listed with the newest first, and the name is among all (service.md)."""
    name = make("1").name
    make("second")
    assert [one.version for one in ml.data.list(name)] == ["second", "1"]
    assert name in [one.name for one in ml.data.list()]
    assert ml.data.get(name, label="latest").version == "second"


@pytest.mark.operation("data.archive", "data.restore")
def test_archive_and_restore(ml: WatchedClient, make: Make) -> None:
    """An archived version is in no list until it is restored (service.md)."""
    name = make("1").name
    make("2")
    ml.data.archive(name, version="1")
    assert [one.version for one in ml.data.list(name)] == ["2"]
    ml.data.restore(name, version="1")
    assert [one.version for one in ml.data.list(name)] == ["2", "1"]


@pytest.mark.operation("data.get")
def test_a_missing_one_is_not_found(ml: WatchedClient, unique: Callable[[str], str]) -> None:
    """It is a 404."""
    with pytest.raises(ResourceNotFoundError):
        ml.data.get(unique("data"), version="1")


@pytest.mark.operation(
    "data.list_materialization_status", partial="azure-ai-ml 1.35.2 fails before it asks for the jobs."
)
def test_materializations_are_not_listed(ml: WatchedClient) -> None:
    """The client asks its own layer below for jobs of an asset. When this fails, a newer one has mended it."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'asset_name'"):
        list(ml.data.list_materialization_status("pf-any"))
