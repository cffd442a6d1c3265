"""Environments, data and models with the real azure-ai-ml client."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from azure.ai.ml import MLClient
from azure.ai.ml.entities import BuildContext, Data, Environment, Model
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from finetunes import MODEL, Trainer, submit

from phi_finetune.testing import FakeAzure

IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
CONDA = {"name": "tools", "dependencies": ["python=3.11"]}
STORE = "azureml://datastores/workspaceblobstore/paths"
OUTPUT = "azureml://jobs/tune/outputs/trained_model"


@pytest.fixture
def azure() -> Iterator[FakeAzure]:
    """A fake whose jobs take five hours."""
    with FakeAzure(runner=Trainer()) as azure:
        yield azure


@pytest.fixture
def client(azure: FakeAzure) -> MLClient:
    """A real client of the workspace."""
    return azure.ml_client()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A folder with an MLTable file and the file that it is about."""
    folder = tmp_path / "table"
    folder.mkdir()
    (folder / "MLTable").write_text("type: mltable\npaths:\n  - file: ./rows.csv\n")
    (folder / "rows.csv").write_text("a,b\n1,2\n")
    return folder


# Environments


def test_an_environment_is_made_and_found(azure: FakeAzure, client: MLClient, tmp_path: Path) -> None:
    """An environment of an image and a conda file is found by version and as the latest, and in lists."""
    conda = tmp_path / "conda.yml"
    conda.write_text("name: tools\ndependencies: [python=3.11]\n")
    sent = Environment(name="tools", image=IMAGE, conda_file=conda, description="tools", tags={"team": "nlp"})
    made = client.environments.create_or_update(sent)
    assert (made.version, made.image, made.conda_file) == ("1", IMAGE, CONDA)
    for found in (client.environments.get("tools", "1"), client.environments.get("tools", label="latest")):
        assert (found.id, found.description, found.tags) == (made.id, "tools", {"team": "nlp"})
    assert "tools" in [one.name for one in client.environments.list()]
    assert [one.version for one in client.environments.list("tools")] == ["1"]
    assert azure.environments["tools"][0].conda_file == "dependencies:\n- python=3.11\nname: tools\n"


def test_a_version_is_added_only_for_another_definition(client: MLClient) -> None:
    """Without a version the client updates the latest one, and adds one where that is refused."""
    for image, expected in ((IMAGE, "1"), (IMAGE, "1"), ("python:3.12", "2"), (IMAGE, "3")):
        assert (
            client.environments.create_or_update(Environment(name="tools", image=image)).version == expected
        )


def test_an_environment_does_not_change(client: MLClient) -> None:
    """Under a version that is given, another definition is a conflict, and another description is not."""
    client.environments.create_or_update(Environment(name="tools", version="1", image=IMAGE))
    with pytest.raises(ResourceExistsError, match="already exists"):
        client.environments.create_or_update(Environment(name="tools", version="1", image="python:3.12"))
    better = Environment(name="tools", version="1", image=IMAGE, description="better")
    assert client.environments.create_or_update(better).description == "better"


def test_a_build_context_is_uploaded(azure: FakeAzure, client: MLClient, tmp_path: Path) -> None:
    """The folder of a Dockerfile is uploaded, and the environment says where it is."""
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\n")
    made = client.environments.create_or_update(Environment(name="tools", build=BuildContext(path=tmp_path)))
    assert made.build.dockerfile_path == "Dockerfile"
    context = azure.environments["tools"][0].build_context
    assert context == made.build.path
    assert azure.cloud.storage.read(context) == {"Dockerfile": f"FROM {IMAGE}\n".encode()}


def test_archived_environments(client: MLClient) -> None:
    """A version or a whole name is archived and comes back; an archived version is still found."""
    for version in ("1", "2"):
        client.environments.create_or_update(Environment(name="tools", version=version, image=IMAGE))
    client.environments.archive("tools", version="2")
    assert client.environments.get("tools", label="latest").version == "1"
    assert client.environments.get("tools", "2").image == IMAGE
    client.environments.archive("tools")
    assert "tools" not in [one.name for one in client.environments.list()]
    client.environments.restore("tools")
    assert [one.version for one in client.environments.list("tools")] == ["2", "1"]


def test_curated_environments(azure: FakeAzure, client: MLClient) -> None:
    """A curated environment is found in the workspace and in the registry."""
    found = client.environments.get("acft-hf-nlp-gpu", label="latest")
    registry = azure.ml_client("azureml")
    assert found.id == registry.environments.get("acft-hf-nlp-gpu", label="latest").id
    assert found.name in [one.name for one in registry.environments.list()]
    with pytest.raises(ResourceNotFoundError):
        client.environments.get("nothing", "1")


# Data


def test_every_type_of_data_from_this_machine(azure: FakeAzure, client: MLClient, table: Path) -> None:
    """A file, a folder and a folder with an MLTable are uploaded; versions count on."""
    given = (("uri_file", table / "rows.csv"), ("uri_folder", table), ("mltable", table))
    for number, (kind, path) in enumerate(given, start=1):
        made = client.data.create_or_update(Data(name="rows", path=str(path), type=kind))
        assert (made.version, made.type) == (str(number), kind)
        assert client.data.get("rows", str(number)).path == made.path
    one, folder, mltable = azure.data["rows"]
    assert one.files() == {"rows.csv": b"a,b\n1,2\n"}
    assert set(folder.files()) == {"rows.csv", "MLTable"}
    assert mltable.files() == folder.files()
    assert client.data.get("rows", label="latest").version == "3"


@pytest.mark.parametrize(
    ("kind", "path", "kept"),
    [
        ("uri_file", f"{STORE}/a/rows.csv", "/paths/a/rows.csv"),
        ("uri_folder", f"{STORE}/a", "/paths/a/"),
        ("mltable", f"{STORE}/a", "/paths/a/"),
        ("uri_file", "https://example.com/rows.csv", "https://example.com/rows.csv"),
    ],
)
def test_data_that_lies_elsewhere(client: MLClient, kind: str, path: str, kept: str) -> None:
    """A path of a datastore comes back whole, an https address as it is."""
    made = client.data.create_or_update(Data(name="rows", path=path, type=kind))
    assert made.path.endswith(kept)
    assert client.data.get("rows", "1").type == kind


def test_a_job_output_becomes_data_and_model(azure: FakeAzure, client: MLClient) -> None:
    """A job's output is registered as data and as a model, both where the job wrote it."""
    submit(azure.cloud, "tune")
    azure.clock.advance(timedelta(days=1))
    data = client.data.create_or_update(Data(name="out", path=OUTPUT, type="uri_folder"))
    model = client.models.create_or_update(Model(name="out", path=OUTPUT, type="mlflow_model"))
    assert data.path == model.path
    assert azure.data["out"][0].files() == azure.models["out"][0].files() == dict(MODEL)


def test_what_of_data_changes(azure: FakeAzure, client: MLClient) -> None:
    """Description and tags change under a version; its path and type do not."""
    path = f"{STORE}/rows.csv"
    made = client.data.create_or_update(Data(name="rows", version="1", path=path, type="uri_file"))
    made.description, made.tags = "better", {"team": "nlp"}
    assert client.data.create_or_update(made).description == "better"
    assert azure.data["rows"][0].tags == {"team": "nlp"}
    for change in ({"path": f"{STORE}/other.csv"}, {"type": "uri_folder"}):
        with pytest.raises(ResourceExistsError, match="cannot be changed"):
            client.data.create_or_update(Data(name="rows", version="1", **{"path": path, **change}))


def test_archived_data(client: MLClient) -> None:
    """A version is archived, left out of lists and of the latest, and comes back."""
    for version in ("1", "2"):
        client.data.create_or_update(
            Data(name="rows", version=version, path=f"{STORE}/rows.csv", type="uri_file")
        )
    client.data.archive("rows", version="2")
    assert [one.version for one in client.data.list("rows")] == ["1"]
    assert client.data.get("rows", label="latest").version == "1"
    client.data.restore("rows", version="2")
    assert client.data.get("rows", label="latest").version == "2"


# Models


# azure-ai-ml 1.35.2 downloads in ways that azure-storage-blob calls deprecated.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_models_from_this_machine(azure: FakeAzure, client: MLClient, tmp_path: Path) -> None:
    """A file and a folder are uploaded as models, and downloaded again."""
    (tmp_path / "model.bin").write_bytes(b"weights")
    folder = tmp_path / "mlflow"
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors: {}\n")
    client.models.create_or_update(Model(name="mine", path=tmp_path / "model.bin"))
    client.models.create_or_update(Model(name="mine", path=folder, type="mlflow_model"))
    single, whole = azure.models["mine"]
    assert (single.type, single.files()) == ("custom_model", {"model.bin": b"weights"})
    assert (whole.type, whole.files()) == ("mlflow_model", {"MLmodel": b"flavors: {}\n"})
    client.models.download("mine", "2", download_path=tmp_path / "got")
    assert [path.name for path in (tmp_path / "got").rglob("*") if path.is_file()] == ["MLmodel"]


def test_what_of_a_model_changes(client: MLClient) -> None:
    """Description, tags and stage change under a version; lists can be of one stage."""
    made = client.models.create_or_update(
        Model(name="mine", version="1", path=f"{STORE}/m", stage="Development")
    )
    made.description, made.tags, made.stage = "better", {"team": "nlp"}, "Production"
    client.models.create_or_update(made)
    found = client.models.get("mine", label="latest")
    assert (found.description, found.tags, found.stage) == ("better", {"team": "nlp"}, "Production")
    assert [one.version for one in client.models.list("mine", stage="Production")] == ["1"]
    assert list(client.models.list("mine", stage="Development")) == []
    client.models.archive("mine", version="1")
    assert client.models.get("mine", "1").stage == "Production"


def test_names_that_the_service_refuses(client: MLClient) -> None:
    """The client sends any name."""
    for make in (
        lambda: client.models.create_or_update(Model(name=".mine", version="1", path=f"{STORE}/m")),
        lambda: client.environments.create_or_update(Environment(name="AzureML-x", version="1", image=IMAGE)),
    ):
        with pytest.raises(HttpResponseError) as refused:
            make()
        assert refused.value.status_code == 400
