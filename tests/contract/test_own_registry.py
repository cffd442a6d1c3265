"""A registry that can be written to: Azure's own ones are only read (test_registry.py)."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from azure.ai.ml.entities import CommandComponent, Data, Environment, Model
from azure.ai.ml.exceptions import MlException
from azure.core.exceptions import HttpResponseError
from service_doors import Door
from watched_client import WatchedClient

# azure-ai-ml 1.35.2 uses marshmallow and azure-storage-blob in ways that these call deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
KINDS = ("components", "data", "environments", "models")
SHARED = ("data", "environments", "models")

Make = Callable[..., Any]


def kinds(*operations: str) -> pytest.MarkDecorator:
    """Run a test for each kind of asset, of which it shows these operations."""
    cases = [
        pytest.param(kind, marks=pytest.mark.operation(*(f"registry.{kind}.{one}" for one in operations)))
        for kind in KINDS
    ]
    return pytest.mark.parametrize("kind", cases)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files to be uploaded."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "weights.txt").write_text("some weights")
    return tmp_path / "files"


def asset(kind: str, name: str, version: str, folder: Path, environment: str | None = None) -> Any:
    """Something to be made."""
    if kind == "models":
        return Model(name=name, version=version, path=str(folder), type="custom_model", tags={"a": "b"})
    if kind == "data":
        return Data(name=name, version=version, path=str(folder), type="uri_folder", tags={"a": "b"})
    if kind == "environments":
        return Environment(name=name, version=version, image=IMAGE, tags={"a": "b"})
    return CommandComponent(
        name=name,
        version=version,
        command="cat weights.txt",
        code=str(folder),
        environment=environment,
        tags={"a": "b"},
    )


@pytest.fixture
def make(
    own_registry: WatchedClient, folder: Path, unique: Callable[[str], str], afterwards: ExitStack
) -> Make:
    """Make versions of an asset, which is archived in the end."""
    name = unique("asset").replace("-", "_")  # as a component's must be

    def put(kind: str, version: str, environment: str | None = None) -> Any:
        operations = getattr(own_registry, kind)
        made = operations.create_or_update(asset(kind, name, version, folder, environment))
        afterwards.callback(lambda: operations.archive(name, version=version))
        return made

    def make(kind: str, version: str) -> Any:
        needed = put("environments", version).id if kind == "components" else None
        return put(kind, version, needed)

    return make


@kinds("create_or_update", "get")
def test_create_and_get(own_registry: WatchedClient, door: Door, make: Make, kind: str) -> None:
    """It has an id of the registry, and is found by version and as the latest (wire.md 3)."""
    made, operations = make(kind, "1"), getattr(own_registry, kind)
    where = f"azureml://registries/{door.own_registry_name}/{kind}/{made.name}/versions/1"
    for found in (operations.get(made.name, "1"), operations.get(made.name, label="latest")):
        assert (found.id.lower(), found.tags) == (where.lower(), {"a": "b"})


@kinds("list")
def test_list(own_registry: WatchedClient, make: Make, kind: str) -> None:
    """Its versions are listed, and its name is among all."""
    operations, name = getattr(own_registry, kind), make(kind, "1").name
    make(kind, "2")
    assert sorted(one.version for one in operations.list(name)) == ["1", "2"]
    assert name in [one.name for one in operations.list()]


@kinds("archive", "restore")
def test_archive_and_restore(own_registry: WatchedClient, make: Make, kind: str) -> None:
    """An archived version is in no list until it is restored, and can be got all the while."""
    operations, name = getattr(own_registry, kind), make(kind, "1").name
    make(kind, "2")
    operations.archive(name, version="2")
    assert [one.version for one in operations.list(name)] == ["1"]
    assert operations.get(name, "2").version == "2"
    operations.restore(name, version="2")
    assert sorted(one.version for one in operations.list(name)) == ["1", "2"]


@kinds("get")
def test_a_missing_one_is_not_found(
    own_registry: WatchedClient, unique: Callable[[str], str], kind: str
) -> None:
    """It is a 404."""
    with pytest.raises(HttpResponseError) as refused:
        getattr(own_registry, kind).get(unique("asset").replace("-", "_"), "1")
    assert refused.value.status_code == 404


@pytest.mark.operation("registry.models.download")
def test_download_a_model(own_registry: WatchedClient, make: Make, tmp_path: Path) -> None:
    """The files come back as they went."""
    own_registry.models.download(make("models", "1").name, "1", str(tmp_path / "got"))
    [path] = (tmp_path / "got").rglob("weights.txt")
    assert path.read_text() == "some weights"


@pytest.mark.operation("registry.components.download")
def test_download_a_component(own_registry: WatchedClient, make: Make, tmp_path: Path) -> None:
    """It is written as YAML; its code and environment stay in the registry, and are named."""
    made = make("components", "1")
    own_registry.components.download(made.name, tmp_path / "got", version="1")
    written = (tmp_path / "got" / "component_spec.yaml").read_text("utf-8")
    assert f"environment: {made.environment}" in written
    assert f"code: {made.code}" in written


@pytest.mark.operation("registry.components.validate", local=True)
def test_validate(own_registry: WatchedClient, folder: Path) -> None:
    """The client checks what it can by itself."""
    right = asset("components", "pf_right", "1", folder, "azureml://registries/r/environments/e/versions/1")
    assert own_registry.components.validate(right).passed
    right.command = "echo ${{inputs.nothing}}"
    assert not own_registry.components.validate(right).passed


@pytest.mark.operation("registry.components.prepare_for_sign", local=True)
def test_prepare_for_sign(own_registry: WatchedClient, folder: Path) -> None:
    """A catalogue with a hash of each file is put beside the code."""
    own_registry.components.prepare_for_sign(asset("components", "pf_signed", "1", folder))
    catalogue = json.loads((folder / "catalog.json").read_text("utf-8"))
    assert list(catalogue["CatalogItems"]) == ["weights.txt"]


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.operation(f"{kind}.share")) for kind in SHARED]
)
def test_share(
    ml: WatchedClient,
    own_registry: WatchedClient,
    door: Door,
    folder: Path,
    unique: Callable[[str], str],
    afterwards: ExitStack,
    kind: str,
) -> None:
    """A version of the workspace is copied to the registry, under a name and version that it has once."""
    ours, theirs, name = getattr(ml, kind), getattr(own_registry, kind), unique("asset")
    ours.create_or_update(asset(kind, name, "1", folder))
    afterwards.callback(lambda: ours.archive(name))
    target = {
        "registry_name": door.own_registry_name,
        "share_with_name": f"{name}-shared",
        "share_with_version": "7",
    }
    shared = ours.share(name, "1", **target)
    afterwards.callback(lambda: theirs.archive(f"{name}-shared", version="7"))
    found = theirs.get(f"{name}-shared", "7")
    assert (found.id, found.tags) == (shared.id, {"a": "b"})
    with pytest.raises(MlException, match="already exists in registry"):
        ours.share(name, "1", **target)


@pytest.mark.operation("registry.models.create_or_update")
def test_azures_own_registry_is_only_read(registry: WatchedClient, folder: Path) -> None:
    """Nobody but Microsoft writes to it."""
    with pytest.raises(HttpResponseError) as refused:
        registry.models.create_or_update(asset("models", "pf-nobodys", "1", folder))
    assert refused.value.status_code == 403
