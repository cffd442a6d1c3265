from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asking import Answer, ask
from azure.ai.ml import MLClient
from azure.ai.ml.entities import Data, Model
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from finetunes import MODEL, Trainer, submit

from phi_finetune.emulator.cloud import Cloud
from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.testing import FakeAzure

OUTPUT = "azureml://jobs/tune/outputs/trained_model"
FOLDER = "azureml://datastores/workspaceblobstore/paths/models/mine"


@pytest.fixture
def cloud() -> Cloud:
    """A cloud whose jobs take five hours."""
    return Cloud(runner=Trainer())


@pytest.fixture
def azure() -> Iterator[FakeAzure]:
    """A fake that takes over the requests of this process."""
    with FakeAzure(runner=Trainer()) as azure:
        yield azure


@pytest.fixture
def client(azure: FakeAzure) -> MLClient:
    """A real client of the workspace."""
    return azure.ml_client()


def put_model(cloud: Cloud, name: str = "mine", version: str = "1", **properties: Any) -> Answer:
    """Register a model, in a folder unless ``properties`` say otherwise."""
    sent = {"modelUri": FOLDER, "modelType": "mlflow_model", **properties}
    return ask(cloud, "PUT", f"models/{name}/versions/{version}", {"properties": sent})


def put_data(cloud: Cloud, uri: str, kind: str, version: str = "1") -> Answer:
    """Register data."""
    return ask(
        cloud, "PUT", f"data/chats/versions/{version}", {"properties": {"dataUri": uri, "dataType": kind}}
    )


def finish_job(cloud: Cloud) -> None:
    """Let a fine-tune run to its end."""
    submit(cloud, "tune")
    cloud.clock.advance(timedelta(days=1))


def whole(cloud: Cloud, path: str) -> str:
    """A path of the default datastore as the service gives it."""
    workspace = f"resourcegroups/{cloud.settings.resource_group}/workspaces/{cloud.settings.workspace}"
    return f"azureml://subscriptions/{cloud.subscription_id}/{workspace}/datastores/workspaceblobstore/paths/{path}"


def versions(answer: Answer) -> list[str]:
    """The versions in a list."""
    return [item["name"] for item in answer.body["value"]]


# azure-ai-ml 1.35.2 downloads in ways that azure-storage-blob calls deprecated.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_client_registers_a_job_output(azure: FakeAzure, client: MLClient, tmp_path: Path) -> None:
    """The real client registers a job's output, finds it under its whole location, and downloads it."""
    finish_job(azure.cloud)
    made = client.models.create_or_update(
        Model(name="tuned", path=OUTPUT, type="mlflow_model", tags={"a": "b"})
    )
    assert (made.version, made.path) == ("1", whole(azure.cloud, "azureml/tune/trained_model/"))
    latest = client.models.get("tuned", label="latest")
    assert (latest.id, latest.tags, latest.type) == (made.id, {"a": "b"}, "mlflow_model")
    assert [model.name for model in client.models.list()] == ["tuned"]
    client.models.download("tuned", "1", str(tmp_path))
    files = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {Path(name).name: content for name, content in MODEL.items()}


def test_client_counts_archives_and_collides(azure: FakeAzure, client: MLClient) -> None:
    """The real client gets the next version, archives one, and is refused another location."""
    for expected in ("1", "2"):
        made = client.models.create_or_update(Model(name="tuned", path=FOLDER))
        assert made.version == expected
    client.models.archive("tuned", version="2")
    assert [model.version for model in client.models.list("tuned")] == ["1"]
    assert client.models.get("tuned", version="2").version == "2"
    assert client.models.get("tuned", label="latest").version == "1"
    with pytest.raises(ResourceExistsError, match="asset path cannot be changed"):
        client.models.create_or_update(Model(name="tuned", version="1", path=f"{FOLDER}/elsewhere"))
    with pytest.raises(ResourceNotFoundError, match="ModelNotFound"):
        client.models.get("other", version="1")


def test_client_keeps_data(client: MLClient, tmp_path: Path) -> None:
    """The real client uploads a file as data, and gets it by version and as the latest."""
    path = tmp_path / "train.jsonl"
    path.write_text('{"messages": []}\n')
    made = client.data.create_or_update(Data(name="chats", path=str(path), type="uri_file"))
    assert (made.version, made.type) == ("1", "uri_file")
    assert client.data.get("chats", version="1").path == made.path
    second = client.data.create_or_update(
        Data(name="chats", path=made.path, type="uri_file", version="second")
    )
    assert client.data.get("chats", label="latest").id == second.id
    assert [one.version for one in client.data.list("chats")] == ["second", "1"]
    assert [one.name for one in client.data.list()] == ["chats"]


def test_client_archives_whole_names(azure: FakeAzure, client: MLClient) -> None:
    """The real client archives all versions of a name at once, which lists then leave out, and restores them."""
    azure.cloud.storage.put("chats.jsonl", b"{}")
    for version in ("1", "2"):
        client.models.create_or_update(Model(name="tuned", version=version, path=FOLDER))
        path = "azureml://datastores/workspaceblobstore/paths/chats.jsonl"
        client.data.create_or_update(Data(name="tuned", version=version, path=path, type="uri_file"))
    for assets in (client.models, client.data):
        assets.archive("tuned")
        assert (list(assets.list()), list(assets.list("tuned"))) == ([], [])
        assert assets.get("tuned", version="1").version == "1"
        assets.restore("tuned")
        assert [one.name for one in assets.list()] == ["tuned"]
        assert [one.version for one in assets.list("tuned")] == ["2", "1"]


def test_client_follows_pages(azure: FakeAzure, client: MLClient) -> None:
    """A list of more than a page is followed to its end, each version once."""
    for number in range(1, 103):
        put_model(azure.cloud, version=str(number))
    listed = [model.version for model in client.models.list("mine")]
    assert listed == [str(number) for number in range(102, 0, -1)]


def test_job_output_becomes_a_place(cloud: Cloud) -> None:
    """A job's output, or a file in it, is kept as the datastore path where it lies."""
    finish_job(cloud)
    made = put_model(cloud, modelUri=OUTPUT)
    assert made.status == 201
    assert made.body["properties"]["modelUri"] == whole(cloud, "azureml/tune/trained_model/")
    assert cloud.assets.model("mine", "1").files() == dict(MODEL)
    inside = put_model(cloud, "file", modelUri=f"{OUTPUT}/paths/MLmodel", modelType="custom_model")
    assert inside.body["properties"]["modelUri"] == whole(cloud, "azureml/tune/trained_model/MLmodel")
    assert cloud.assets.model("file", "1").files() == {"MLmodel": MODEL["MLmodel"]}


@pytest.mark.parametrize(
    ("uri", "code"),
    [
        (OUTPUT.replace("tune", "other"), "UserError"),
        (OUTPUT.replace("trained_model", "other"), "NoMatchingOutputFoundFromJob"),
        (f"{OUTPUT}/paths/other", "NoMatchingArtifactsFoundFromJob"),
    ],
)
def test_outputs_that_are_not_there(cloud: Cloud, uri: str, code: str) -> None:
    """A job, an output or a file that is not there is a 400, and nothing is registered."""
    finish_job(cloud)
    refused = put_model(cloud, modelUri=uri)
    assert (refused.status, refused.code) == (400, code)
    assert cloud.assets.models() == {}


def test_output_of_a_running_job(cloud: Cloud) -> None:
    """An output is not there before its job has completed."""
    submit(cloud, "tune")
    cloud.clock.advance(timedelta(hours=1))
    assert put_model(cloud, modelUri=OUTPUT).code == "NoMatchingArtifactsFoundFromJob"


@pytest.mark.parametrize(
    ("sent", "kind", "kept"),
    [
        ("azureml://datastores/workspaceblobstore/paths/a/b", "uri_folder", "a/b/"),
        ("azureml://datastores/workspaceblobstore/paths/a/b/", "uri_folder", "a/b/"),
        ("azureml://datastores/workspaceblobstore/paths/a/b.jsonl", "uri_file", "a/b.jsonl"),
    ],
)
def test_short_locations_come_back_whole(cloud: Cloud, sent: str, kind: str, kept: str) -> None:
    """A short location comes back whole, a folder's with a trailing slash; the whole one stays as it is."""
    assert put_data(cloud, sent, kind).body["properties"]["dataUri"] == whole(cloud, kept)
    assert put_data(cloud, whole(cloud, kept), kind).status == 200


def test_other_locations(cloud: Cloud) -> None:
    """An https address is kept; what is no location, or in no datastore, is refused."""
    address = "https://example.com/chats.jsonl"
    assert put_data(cloud, address, "uri_file").body["properties"]["dataUri"] == address
    assert put_data(cloud, "chats.jsonl", "uri_file", "2").status == 400
    assert put_data(cloud, "azureml://datastores/other/paths/x", "uri_file", "2").status == 404
    assert ask(cloud, "PUT", "data/chats/versions/2", {"properties": {}}).status == 400


def test_what_can_change(cloud: Cloud) -> None:
    """Tags, description and the archive flag of a version change (200); who changed them is told then."""
    made = put_model(cloud, tags={"a": "1"}, properties={"p": "1"})
    assert "lastModifiedBy" not in made.body["systemData"]
    changed = put_model(cloud, tags={"a": "2"}, description="better", isArchived=True)
    assert changed.status == 200
    properties = changed.body["properties"]
    assert (properties["tags"], properties["description"]) == ({"a": "2"}, "better")
    assert (properties["isArchived"], properties["properties"]) == (True, {"p": "1"})
    assert "lastModifiedBy" in changed.body["systemData"]


@pytest.mark.parametrize("change", [{"modelUri": f"{FOLDER}2"}, {"modelType": "custom_model"}])
def test_what_cannot_change(cloud: Cloud, change: dict[str, str]) -> None:
    """The location and type of a version are refused with 409 where they would change, and stay."""
    put_model(cloud)
    assert put_model(cloud, **change).status == 409
    assert (cloud.assets.model("mine", "1").uri, cloud.assets.model("mine", "1").type) == (
        whole(cloud, "models/mine/"),
        "mlflow_model",
    )


def test_latest_and_next(cloud: Cloud) -> None:
    """The latest version is the one made last, not the highest; the next is a number above all numbers."""
    for version in ("foobar", "7", "3"):
        put_model(cloud, version=version)
    properties = ask(cloud, "GET", "models/mine").body["properties"]
    assert (properties["latestVersion"], properties["nextVersion"]) == ("3", "8")
    assert versions(ask(cloud, "GET", "models/mine/versions?$orderBy=createdtime%20desc&$top=1")) == ["3"]
    put_model(cloud, "words", "foo")
    assert ask(cloud, "GET", "models/words").body["properties"]["nextVersion"] == "1"


def test_views(cloud: Cloud) -> None:
    """Archived versions, and names with archived versions only, are seen only where they are asked for."""
    put_model(cloud, "mixed", "1")
    put_model(cloud, "mixed", "2", isArchived=True)
    put_model(cloud, "gone", "1", isArchived=True)
    assert versions(ask(cloud, "GET", "models/mixed/versions")) == ["1"]
    assert versions(ask(cloud, "GET", "models/mixed/versions?listViewType=All")) == ["2", "1"]
    assert versions(ask(cloud, "GET", "models/gone/versions")) == []
    assert versions(ask(cloud, "GET", "models?listViewType=ActiveOnly")) == ["mixed"]
    assert versions(ask(cloud, "GET", "models?listViewType=ArchivedOnly")) == ["gone"]


def test_versions_with_properties(cloud: Cloud) -> None:
    """A list can be of the versions alone that have some properties, by name or by name and value."""
    put_model(cloud, version="1", properties={"a": "1", "b": "2"})
    put_model(cloud, version="2", properties={"a": "2"})
    put_model(cloud, version="3")
    for wanted, found in (
        ("a", ["2", "1"]),
        ("a=2", ["2"]),
        ("a,b=2", ["1"]),
        ("b=1", []),
        ("", ["3", "2", "1"]),
    ):
        assert versions(ask(cloud, "GET", f"models/mine/versions?properties={wanted}")) == found


@pytest.mark.parametrize("kind", ["models", "data"])
def test_missing(cloud: Cloud, kind: str) -> None:
    """An unknown name or version is a 404, in lists too; an empty workspace lists nothing."""
    for path in (f"{kind}/mine", f"{kind}/mine/versions", f"{kind}/mine/versions/1"):
        assert ask(cloud, "GET", path).status == 404
    assert versions(ask(cloud, "GET", kind)) == []


@pytest.mark.parametrize("name", ["-model", ".model", "model.", "mod%20el", "x" * 256])
def test_bad_names(cloud: Cloud, name: str) -> None:
    """A name that breaks the rules is refused."""
    assert put_model(cloud, name).status == 400


def test_files_for_a_deployment(cloud: Cloud) -> None:
    """A deployment's model is found by name, by ARM id and in a registry, whose models have no files."""
    cloud.storage.put("models/mine/MLmodel", b"x")
    arm_id = put_model(cloud).body["id"]
    for reference in ("mine:1", "azureml:mine:1", arm_id, f"azureml:{arm_id}"):
        assert cloud.assets.model_files(reference) == {"MLmodel": b"x"}
    assert cloud.assets.model_files("azureml://registries/azureml/models/Phi-4/versions/8") == {}


@pytest.mark.parametrize(
    ("reference", "status"),
    [
        ("mine:2", 404),
        ("azureml://registries/azureml/models/Phi-4/versions/999", 404),
        ("mine", 400),
        ("empty:1", 400),
    ],
)
def test_references_that_lead_nowhere(cloud: Cloud, reference: str, status: int) -> None:
    """A missing version or registry model is a 404; what is no reference, or has no files, is a 400."""
    put_model(cloud)
    put_model(cloud, "empty", modelUri=f"{FOLDER}-empty")
    with pytest.raises(ServiceError) as refused:
        cloud.assets.model_files(reference)
    assert refused.value.status == status
