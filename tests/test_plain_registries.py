"""A registry of one's own with the real azure-ai-ml client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.ai.ml import MLClient
from azure.ai.ml.entities import (
    BuildContext,
    CommandComponent,
    Data,
    Environment,
    ManagedOnlineDeployment,
    Model,
)
from azure.ai.ml.entities import ManagedOnlineEndpoint as Endpoint
from azure.ai.ml.exceptions import MlException
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from phi_finetune.testing import FakeAzure

IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
OURS = "my-company"
WHERE = f"azureml://registries/{OURS}"


@pytest.fixture
def azure() -> Iterator[FakeAzure]:
    """A fake with a registry of its own."""
    with FakeAzure(registries=(OURS,)) as azure:
        yield azure


@pytest.fixture
def registry(azure: FakeAzure) -> MLClient:
    """A real client of the registry."""
    return azure.ml_client(OURS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an MLflow model in it."""
    folder = tmp_path / "mlflow"
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors: {}\n")
    return folder


# azure-ai-ml 1.35.2 downloads in ways that azure-storage-blob calls deprecated.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_models(azure: FakeAzure, registry: MLClient, folder: Path, tmp_path: Path) -> None:
    """A model is uploaded, found, listed, downloaded and archived; versions count on."""
    for expected in ("1", "2"):
        made = registry.models.create_or_update(Model(name="mine", path=folder, type="mlflow_model"))
        assert (made.version, made.id) == (expected, f"{WHERE}/models/mine/versions/{expected}")
    assert azure.cloud.assets.model_files(made.id) == {"MLmodel": b"flavors: {}\n"}
    assert registry.models.get("mine", label="latest").version == "2"
    assert [one.name for one in registry.models.list()] == ["mine"]
    registry.models.download("mine", "2", download_path=tmp_path / "got")
    assert [path.name for path in (tmp_path / "got").rglob("*") if path.is_file()] == ["MLmodel"]
    registry.models.archive("mine", version="2")
    assert [one.version for one in registry.models.list("mine")] == ["1"]
    registry.models.archive("mine")
    assert list(registry.models.list()) == []
    assert azure.models == {}


def test_a_model_of_the_registry_is_deployed(azure: FakeAzure, registry: MLClient, folder: Path) -> None:
    """A deployment in the workspace names the registry's model, and has its files."""
    made = registry.models.create_or_update(Model(name="mine", version="1", path=folder, type="mlflow_model"))
    client = azure.ml_client()
    client.online_endpoints.begin_create_or_update(Endpoint(name="phi-test")).result()
    blue = ManagedOnlineDeployment(
        name="blue",
        endpoint_name="phi-test",
        model=made.id,
        instance_type="Standard_DS3_v2",
        instance_count=1,
    )
    client.online_deployments.begin_create_or_update(blue).result()
    assert azure.endpoints["phi-test"].deployments["blue"].files == {"MLmodel": b"flavors: {}\n"}


def test_data(azure: FakeAzure, registry: MLClient, folder: Path) -> None:
    """Data is uploaded, found and listed; the client asks for a version."""
    made = registry.data.create_or_update(Data(name="rows", version="1", path=str(folder), type="uri_folder"))
    assert made.id == f"{WHERE}/data/rows/versions/1"
    assert azure.cloud.storage.read(made.path) == {"MLmodel": b"flavors: {}\n"}
    assert registry.data.get("rows", label="latest").path == made.path
    assert [one.version for one in registry.data.list("rows")] == ["1"]


def test_environments(azure: FakeAzure, registry: MLClient, tmp_path: Path) -> None:
    """Environments of an image and of a build context are made; without a version there is a new one each time."""
    for expected in ("1", "2"):
        assert (
            registry.environments.create_or_update(Environment(name="tools", image=IMAGE)).version == expected
        )
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\n")
    built = Environment(name="built", version="1", build=BuildContext(path=tmp_path))
    context = registry.environments.create_or_update(built).build.path
    assert azure.cloud.storage.read(context) == {"Dockerfile": f"FROM {IMAGE}\n".encode()}
    assert registry.environments.get("tools", label="latest").version == "2"
    assert {one.name for one in registry.environments.list()} == {"tools", "built"}


def test_components(azure: FakeAzure, registry: MLClient, tmp_path: Path) -> None:
    """A component is made with its code, and found by the workspace's jobs."""
    (tmp_path / "train.py").write_text("print(1)\n")
    environment = registry.environments.create_or_update(Environment(name="tools", version="1", image=IMAGE))
    made = registry.components.create_or_update(
        CommandComponent(
            name="train", command="python train.py", code=str(tmp_path), environment=environment.id
        )
    )
    assert (made.version, made.id) == ("1", f"{WHERE}/components/train/versions/1")
    spec = azure.cloud.assets.component(made.id).spec
    assert spec["environment"] == environment.id
    assert azure.cloud.assets.code_files(spec["code"]) == {"train.py": b"print(1)\n"}
    assert [one.version for one in registry.components.list("train")] == ["1"]


def test_sharing(azure: FakeAzure, registry: MLClient, folder: Path) -> None:
    """A workspace's model, data and environment are shared with the registry, once under a version."""
    client = azure.ml_client()
    client.models.create_or_update(Model(name="mine", version="3", path=folder, type="mlflow_model"))
    client.data.create_or_update(Data(name="rows", version="3", path=str(folder), type="uri_folder"))
    client.environments.create_or_update(Environment(name="tools", version="3", image=IMAGE))
    for ours, theirs, name in (
        (client.models, registry.models, "mine"),
        (client.data, registry.data, "rows"),
        (client.environments, registry.environments, "tools"),
    ):
        target = {"share_with_name": f"{name}-shared", "share_with_version": "1", "registry_name": OURS}
        shared = ours.share(name, "3", **target)
        assert theirs.get(f"{name}-shared", "1").id == shared.id
        with pytest.raises(MlException, match="already exists in registry"):
            ours.share(name, "3", **target)
        with pytest.raises(ResourceNotFoundError):
            theirs.get(name, "3")
    files = azure.cloud.assets.model_files(f"{WHERE}/models/mine-shared/versions/1")
    assert files == {"MLmodel": b"flavors: {}\n"}


def test_azures_registries_are_not_ours(azure: FakeAzure, folder: Path) -> None:
    """Nobody but Microsoft writes to Azure's own."""
    public = azure.ml_client("azureml")
    for make in (
        lambda: public.models.create_or_update(Model(name="mine", version="1", path=folder)),
        lambda: public.environments.create_or_update(Environment(name="tools", version="1", image=IMAGE)),
        lambda: public.models.archive("Phi-4"),
    ):
        with pytest.raises(HttpResponseError) as refused:
            make()
        assert refused.value.status_code == 403
