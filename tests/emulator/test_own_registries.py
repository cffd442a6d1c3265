from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from asking import Answer, ask
from making import IMAGE, put_component, put_environment, registry_url, versions

from phi_finetune.emulator.cloud import Cloud, Settings
from phi_finetune.emulator.core.faults import OperationFails
from phi_finetune.emulator.core.http import Request

OURS = "My-company"


@pytest.fixture
def cloud() -> Cloud:
    """A cloud that sees a registry of its own."""
    return Cloud(Settings(registries=(OURS,)))


def at(cloud: Cloud, method: str, path: str, body: object = None, *, registry: str = OURS) -> Answer:
    """Send a request about a registry's asset."""
    return ask(cloud, method, registry_url(cloud, path, registry), body)


def finish(cloud: Cloud, began: Answer) -> Answer:
    """Poll where an answer says until that is no longer under way."""
    assert began.status == 202
    while (answer := ask(cloud, "GET", began.headers["Location"])).status == 202:
        continue
    return answer


def put(cloud: Cloud, path: str, **properties: Any) -> Answer:
    """Write a version, and wait until it is there."""
    return finish(cloud, at(cloud, "PUT", path, {"properties": properties}))


def fill(cloud: Cloud, kind: str, name: str, data: bytes = b"x") -> str:
    """Upload a file for a version, as the client does; where it is."""
    body = {"assetId": f"azureml://registries/{OURS}/{kind}/{name}/versions/1"}
    answer = at(cloud, "PUT", f"tempdatarefs/{name}/versions/1", body)
    assert answer.status == 200
    place = answer.body["blobReferenceForConsumption"]
    parts = urlsplit(place["credential"]["sasUri"])
    url = f"https://{parts.netloc}{parts.path}/files/a.bin?{parts.query}"
    assert cloud.handle(Request("PUT", url, {"x-ms-blob-type": "BlockBlob"}, data)).status == 201
    return f"{place['blobUri']}/files"


def test_a_registry_starts_empty(cloud: Cloud) -> None:
    """It is discovered in any case of its name, lists nothing of any kind, and is in this cloud only."""
    url = "https://eastus.api.azureml.ms/registrymanagement/v1.0/registries/my-COMPANY/discovery"
    assert ask(cloud, "GET", url).body["registryName"] == OURS
    assert ask(Cloud(), "GET", url).status == 404
    for kind in ("codes", "components", "data", "environments", "models"):
        assert versions(at(cloud, "GET", kind)) == []
        assert versions(at(cloud, "GET", f"{kind}/any/versions")) == []
        assert at(cloud, "GET", f"{kind}/any/versions/1").status == 404


@pytest.mark.parametrize("names", [("AzureML",), ("one", "ONE")])
def test_names_of_registries_are_unique(names: tuple[str, ...]) -> None:
    """A mistake in a test is told: names count in any case."""
    with pytest.raises(ValueError, match="already"):
        Cloud(Settings(registries=names))


def test_a_write_takes_its_time(cloud: Cloud) -> None:
    """A version is there once its operation has ended, which then tells its id (service.md)."""
    began = at(cloud, "PUT", "environments/tools/versions/1", {"properties": {"image": IMAGE}})
    assert (began.status, began.body) == (202, None)
    assert "/assetstore/v1.0/operations/" in began.headers["Location"]
    assert at(cloud, "GET", "environments/tools/versions/1").status == 404
    done = finish(cloud, began)
    asset_id = f"azureml://registries/{OURS}/environments/tools/versions/1"
    assert (done.status, done.body) == (200, {"assetId": asset_id})
    assert at(cloud, "GET", "environments/tools/versions/1").body["id"] == asset_id
    assert cloud.assets.environment(asset_id).image == IMAGE


def test_a_write_that_fails(cloud: Cloud) -> None:
    """A failed operation tells why, and nothing is there."""
    cloud.faults.next(OperationFails(kind="assetstore*"))
    failed = put(cloud, "environments/tools/versions/1", image=IMAGE)
    assert (failed.status, failed.code) == (400, "InternalServerError")
    assert at(cloud, "GET", "environments/tools").status == 404


def test_the_faster_of_two_writes_wins(cloud: Cloud) -> None:
    """Of two writes of one version that are under way together, the second to end meets the first one's content."""
    first, second = (
        at(cloud, "PUT", "environments/tools/versions/1", {"properties": {"image": image}})
        for image in (IMAGE, "python:3.12")
    )
    assert finish(cloud, first).status == 200
    assert finish(cloud, second).status == 409
    assert at(cloud, "GET", "environments/tools/versions/1").body["properties"]["image"] == IMAGE


def test_files_in_a_registry(cloud: Cloud) -> None:
    """Files are uploaded to a place of their own, and read with a signature that lets nobody write."""
    uri = fill(cloud, "models", "mine", b"weights")
    put(cloud, "models/mine/versions/1", modelUri=uri, modelType="custom_model")
    asset_id = f"azureml://registries/{OURS}/models/mine/versions/1"
    assert cloud.assets.model_files(asset_id) == {"a.bin": b"weights"}
    body = {"assetId": asset_id, "blobUri": uri}
    place = at(cloud, "POST", "datarefs/mine/versions/1", body).body["blobReferenceForConsumption"]
    url = place["credential"]["sasUri"].replace("?", "/files/a.bin?")
    assert cloud.handle(Request("GET", url, {})).body == b"weights"
    assert cloud.handle(Request("PUT", url, {"x-ms-blob-type": "BlockBlob"}, b"")).status == 403
    assert at(cloud, "POST", "datarefs/mine/versions/2", body).status == 404


def test_no_second_upload(cloud: Cloud) -> None:
    """No place is given for what is there already, or for what is no asset."""
    put(cloud, "data/chats/versions/1", dataUri=fill(cloud, "data", "chats"), dataType="uri_folder")
    asset = f"azureml://registries/{OURS}/data/chats/versions"
    assert at(cloud, "PUT", "tempdatarefs/chats/versions/1", {"assetId": f"{asset}/1"}).status == 409
    assert at(cloud, "PUT", "tempdatarefs/chats/versions/2", {"assetId": f"{asset}/2"}).status == 200
    assert at(cloud, "PUT", "tempdatarefs/chats/versions/2", {"assetId": "chats"}).status == 400


def test_a_registry_reads_no_datastore(cloud: Cloud) -> None:
    """A path of a workspace's datastore means nothing in a registry."""
    path = "azureml://datastores/workspaceblobstore/paths/x"
    refused = at(cloud, "PUT", "models/mine/versions/1", {"properties": {"modelUri": path}})
    assert refused.status == 400


def test_components_of_a_registry(cloud: Cloud) -> None:
    """A component names the registry's environment and code, which must be there; jobs find it by its id."""
    where = f"azureml://registries/{OURS}"
    put(cloud, "environments/tools/versions/1", image=IMAGE)
    put(cloud, "codes/guid/versions/1", codeUri=fill(cloud, "codes", "guid", b"print(1)"))
    spec = {
        "type": "command",
        "command": "python a.bin",
        "environment": f"{where}/environments/tools/versions/1",
        "code": f"{where}/codes/guid/versions/1",
    }
    done = put(cloud, "components/train/versions/1", componentSpec=spec)
    found = cloud.assets.component(done.body["assetId"])
    assert (found.name, found.spec["environment"]) == ("train", spec["environment"])
    assert cloud.assets.code_files(found.spec["code"]) == {"a.bin": b"print(1)"}
    lost = {**spec, "code": f"{where}/codes/guid/versions/2"}
    refused = at(cloud, "PUT", "components/train/versions/2", {"properties": {"componentSpec": lost}})
    assert refused.status == 400


def test_sharing_copies_an_asset(cloud: Cloud) -> None:
    """An import copies files into the registry, where they stay when the workspace's change; its end is empty."""
    cloud.storage.put("models/mine/a.bin", b"weights")
    uri = "azureml://datastores/workspaceblobstore/paths/models/mine"
    model = {"modelUri": uri, "modelType": "mlflow_model", "tags": {"team": "nlp"}}
    ask(cloud, "PUT", "models/mine/versions/3", {"properties": model})
    source = f"azureml://locations/eastus/workspaces/{cloud.workspace.guid}/models/mine/versions/3"
    wanted = {"sourceAssetId": source, "destinationName": "shared", "destinationVersion": "1"}
    done = finish(cloud, at(cloud, "POST", "import", {"properties": wanted}))
    assert (done.status, done.body) == (200, None)
    cloud.storage.put("models/mine/a.bin", b"others")
    shared = f"azureml://registries/{OURS}/models/shared/versions/1"
    assert cloud.assets.model_files(shared) == {"a.bin": b"weights"}
    assert at(cloud, "GET", "models/shared/versions/1").body["properties"]["tags"] == {"team": "nlp"}
    assert at(cloud, "POST", "import", {"properties": wanted}).status == 409


def test_what_cannot_be_shared(cloud: Cloud) -> None:
    """What is not there is a 404; a component, and what is no id, a 400."""
    put_environment(cloud)
    component = put_component(cloud).body["id"]
    for source, status in (
        (cloud.assets.id_of("environments", "tools", "2"), 404),
        (component, 400),
        ("tools:1", 400),
    ):
        body = {"properties": {"sourceAssetId": source}}
        assert at(cloud, "POST", "import", body).status == status


@pytest.mark.parametrize("registry", ["azureml", "azureml-phi"])
def test_azures_own_registries_are_read_only(cloud: Cloud, registry: str) -> None:
    """Writing to them in any way is a 403."""
    asset_id = f"azureml://registries/{registry}/models/mine/versions/1"
    for method, path, body in (
        ("PUT", "models/mine/versions/1", {"properties": {"modelUri": "https://example.com/x"}}),
        ("PUT", "models/Phi-4", {"properties": {"isArchived": True}}),
        ("PUT", "tempdatarefs/mine/versions/1", {"assetId": asset_id}),
        ("POST", "import", {"properties": {"sourceAssetId": asset_id}}),
    ):
        refused = at(cloud, method, path, body, registry=registry)
        assert (refused.status, refused.code) == (403, "AuthorizationFailed")
    assert at(cloud, "GET", "models/Phi-4", registry=registry).body["properties"]["isArchived"] is False


def test_archiving_in_a_registry(cloud: Cloud) -> None:
    """A version, or all of a name, is archived, and then not listed."""
    for version in ("1", "2"):
        put(cloud, f"environments/tools/versions/{version}", image=IMAGE)
    put(cloud, "environments/tools/versions/2", image=IMAGE, isArchived=True)
    assert versions(at(cloud, "GET", "environments/tools/versions")) == ["1"]
    assert at(cloud, "PUT", "environments/tools", {"properties": {"isArchived": True}}).status == 200
    assert versions(at(cloud, "GET", "environments")) == []
    assert at(cloud, "PUT", "environments/other", {"properties": {"isArchived": True}}).status == 404
