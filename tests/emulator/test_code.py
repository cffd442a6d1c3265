from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from asking import ask
from making import put_code, versions

from phi_finetune.emulator.cloud import Cloud
from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.core.http import Request

FILES = {"train.py": b"import util\n", "lib/util.py": b"x = 1\n"}


@pytest.fixture
def cloud() -> Cloud:
    """A cloud."""
    return Cloud()


def upload(cloud: Cloud, sas_uri: str, path: str, data: bytes, method: str = "PUT") -> int:
    """Write or read a blob below a signed URL; the answer's status."""
    parts = urlsplit(sas_uri)
    url = f"https://{parts.netloc}{parts.path}/{path}?{parts.query}"
    return cloud.handle(Request(method, url, {"x-ms-blob-type": "BlockBlob"}, data)).status


def test_a_pending_upload_has_a_place_of_its_own(cloud: Cloud) -> None:
    """What is uploaded to the place that was given is the code, and each upload has another place."""
    place, other = (
        ask(cloud, "POST", "codes/guid/versions/1/startPendingUpload", {}).body["blobReferenceForConsumption"]
        for _ in range(2)
    )
    sas_uri = place["credential"]["sasUri"]
    assert place["blobUri"] != other["blobUri"]
    for path, data in FILES.items():
        assert upload(cloud, sas_uri, f"src/{path}", data) == 201
    body = {"properties": {"codeUri": f"{place['blobUri']}/src"}}
    code = ask(cloud, "PUT", "codes/guid/versions/1", body).body
    assert cloud.assets.code_files(code["id"]) == FILES
    assert cloud.assets.code_files("azureml:guid:1") == FILES


def test_a_signature_is_for_one_place(cloud: Cloud) -> None:
    """The signature of one upload opens neither another one's container nor a datastore's."""
    first, second = (
        ask(cloud, "POST", "codes/guid/versions/1/startPendingUpload", {}).body["blobReferenceForConsumption"]
        for _ in range(2)
    )
    query = urlsplit(first["credential"]["sasUri"]).query
    assert upload(cloud, f"{second['blobUri']}?{query}", "src/a.py", b"") == 403
    store = cloud.storage.datastore("workspaceblobstore").name
    assert upload(cloud, f"https://{cloud.storage.host}/{store}?{query}", "a.py", b"") == 403


def test_code_is_found_by_its_hash(cloud: Cloud) -> None:
    """The client asks for a hash under a name that it has just made up; without one, names count."""
    properties = {"hash_sha256": "abc", "hash_version": 202208}
    body = {"properties": {"codeUri": f"https://{cloud.storage.host}/some/src", "properties": properties}}
    assert ask(cloud, "PUT", "codes/guid/versions/1", body).status == 201
    found = ask(cloud, "GET", "codes/another/versions?hash=abc&hashVersion=202208")
    assert [item["id"] for item in found.body["value"]] == [cloud.assets.code("guid:1").id]
    for miss in ("hash=abd&hashVersion=202208", "hash=abc&hashVersion=202209"):
        assert versions(ask(cloud, "GET", f"codes/another/versions?{miss}")) == []
    assert ask(cloud, "GET", "codes/another/versions").status == 404
    assert versions(ask(cloud, "GET", "codes/guid/versions")) == ["1"]


def test_code_stays(cloud: Cloud) -> None:
    """A version's location is refused with 409 where it would change."""
    put_code(cloud, FILES)
    body = {"properties": {"codeUri": f"https://{cloud.storage.host}/elsewhere/src"}}
    assert ask(cloud, "PUT", "codes/snapshot/versions/1", body).status == 409
    assert cloud.assets.code_files("snapshot:1") == FILES


def test_code_that_is_not_there(cloud: Cloud) -> None:
    """A missing version is a 404, one without files a 400, and so is what names no code."""
    body = {"properties": {"codeUri": "azureml://datastores/workspaceblobstore/paths/empty"}}
    assert ask(cloud, "PUT", "codes/empty/versions/1", body).status == 201
    for reference, status in (("empty:2", 404), ("empty:1", 400), ("empty", 400)):
        with pytest.raises(ServiceError) as refused:
            cloud.assets.code_files(reference)
        assert refused.value.status == status
    assert ask(cloud, "PUT", "codes/none/versions/1", {"properties": {}}).status == 400
