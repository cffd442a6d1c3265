from __future__ import annotations

from datetime import timedelta
from xml.etree import ElementTree

import pytest
from asking import ask
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobBlock, ContainerClient
from hypothesis import given
from hypothesis import strategies as st

from phi_finetune.emulator.cloud import Cloud
from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.core.http import Request, Response
from phi_finetune.emulator.identity.state import ARM_AUDIENCE
from phi_finetune.testing import FakeAzure

STORAGE_AUDIENCE = "https://storage.azure.com"


@pytest.fixture
def cloud() -> Cloud:
    """A cloud."""
    return Cloud()


def blob(
    cloud: Cloud, method: str, path: str, body: bytes = b"", query: str = "", **headers: str
) -> Response:
    """Send a request about a blob of the default datastore, with a signature that allows everything."""
    container = cloud.storage.datastore("workspaceblobstore").name
    signature = cloud.storage.sas(timedelta(hours=1))
    url = f"https://{cloud.storage.host}/{container}/{path}?{signature}{query}"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return cloud.handle(Request(method, url, named, body))


def code(answer: Response) -> tuple[int, str]:
    """The status of a refusal, and the code in the header where the blob client looks for it."""
    return answer.status, answer.headers["x-ms-error-code"]


def test_datastores(cloud: Cloud) -> None:
    """There are the two datastores of a new workspace, and the default one can be asked for alone."""
    both = ask(cloud, "GET", "datastores").body["value"]
    assert [one["name"] for one in both] == ["workspaceblobstore", "workspaceartifactstore"]
    [default] = ask(cloud, "GET", "datastores?isDefault=true&count=30").body["value"]
    assert default["properties"]["isDefault"]
    assert default == ask(cloud, "GET", "datastores/workspaceblobstore").body
    assert ask(cloud, "GET", "datastores/none").status == 404


def test_secret_lasts_as_long_as_asked_for(cloud: Cloud) -> None:
    """The signature of listSecrets opens the container for the hours asked for, on the cloud's clock."""
    body = {"expirableSecret": True, "expireAfterHours": 2}
    secret = ask(cloud, "POST", "datastores/workspaceblobstore/listSecrets", body).body
    assert secret["secretsType"] == "Sas"
    container = cloud.storage.datastore("workspaceblobstore").name
    url = f"https://{cloud.storage.host}/{container}/a?{secret['sasToken']}"
    cloud.clock.advance(timedelta(minutes=119))
    assert cloud.handle(Request("PUT", url, {}, b"x")).status == 201
    cloud.clock.advance(timedelta(minutes=1))
    assert code(cloud.handle(Request("PUT", url, {}, b"x"))) == (403, "AuthenticationFailed")


def test_a_refusal_has_a_body_of_xml(cloud: Cloud) -> None:
    """It says the code again, and what it means."""
    answer = blob(cloud, "GET", "a/b.txt")
    assert answer.headers["Content-Type"] == "application/xml"
    assert ElementTree.fromstring(answer.body).findtext("Code") == "BlobNotFound"


def test_blob_is_put_read_and_deleted(cloud: Cloud) -> None:
    """A blob has the bytes and metadata it was given, until it is deleted."""
    assert code(blob(cloud, "HEAD", "a/b.txt")) == (404, "BlobNotFound")
    assert blob(cloud, "PUT", "a/b.txt", b"hello", x_ms_blob_type="BlockBlob").status == 201
    assert blob(cloud, "PUT", "a/b.txt", query="&comp=metadata", **{"x-ms-meta-name": "n"}).status == 200
    head = blob(cloud, "HEAD", "a/b.txt")
    assert (head.status, head.headers["x-ms-meta-name"], head.headers["Content-Length"]) == (200, "n", "5")
    assert blob(cloud, "GET", "a/b.txt").body == b"hello"
    assert blob(cloud, "DELETE", "a/b.txt").status == 202
    assert code(blob(cloud, "DELETE", "a/b.txt")) == (404, "BlobNotFound")


def test_only_new(cloud: Cloud) -> None:
    """A write that must be the first is refused where there is a blob (If-None-Match: *)."""
    assert blob(cloud, "PUT", "a", b"one", if_none_match="*").status == 201
    assert code(blob(cloud, "PUT", "a", b"two", if_none_match="*")) == (409, "BlobAlreadyExists")
    assert blob(cloud, "GET", "a").body == b"one"


@given(data=st.binary(min_size=1, max_size=40), first=st.integers(0, 45), last=st.integers(0, 60))
def test_ranges(data: bytes, first: int, last: int) -> None:
    """A range gives these bytes and says which they are; one that begins behind the end is refused."""
    cloud = Cloud()
    cloud.storage.put("a", data)
    answer = blob(cloud, "GET", "a", x_ms_range=f"bytes={first}-{max(first, last)}")
    if first >= len(data):
        assert code(answer) == (416, "InvalidRange")
        return
    end = min(max(first, last), len(data) - 1)
    assert (answer.status, answer.body) == (206, data[first : end + 1])
    assert answer.headers["Content-Range"] == f"bytes {first}-{end}/{len(data)}"


def test_open_range_follows_a_growing_log(cloud: Cloud) -> None:
    """A reader who asks from where it stopped gets what is new, and 416 where nothing is."""
    text = bytearray(b"one\n")
    cloud.storage.put_live("log", lambda: bytes(text))
    assert blob(cloud, "GET", "log", range="bytes=0-").body == b"one\n"
    assert code(blob(cloud, "GET", "log", range="bytes=4-")) == (416, "InvalidRange")
    text += b"two\n"
    assert blob(cloud, "GET", "log", range="bytes=4-").body == b"two\n"


def test_empty_blob(cloud: Cloud) -> None:
    """A ranged read of an empty blob is a 416, which the client expects (wire.md 13.5)."""
    cloud.storage.put("empty", b"")
    assert code(blob(cloud, "GET", "empty", x_ms_range="bytes=0-33554431")) == (416, "InvalidRange")


@given(parts=st.lists(st.binary(max_size=8), max_size=6), seed=st.randoms())
def test_blocks(parts: list[bytes], seed: object) -> None:
    """A blob of blocks has them in the order of the list, however they came."""
    cloud = Cloud()
    order = list(range(len(parts)))
    seed.shuffle(order)  # type: ignore[attr-defined]
    for number in order:
        blob(cloud, "PUT", "big", parts[number], query=f"&comp=block&blockid=b{number}")
    names = "".join(f"<Latest>b{number}</Latest>" for number in range(len(parts)))
    body = f"<?xml version='1.0'?><BlockList>{names}</BlockList>".encode()
    assert blob(cloud, "PUT", "big", body, query="&comp=blocklist").status == 201
    assert blob(cloud, "GET", "big").body == b"".join(parts)


def test_unknown_block(cloud: Cloud) -> None:
    """A list that names a block which was never sent is refused."""
    body = b"<BlockList><Latest>b1</Latest></BlockList>"
    assert code(blob(cloud, "PUT", "big", body, query="&comp=blocklist")) == (400, "InvalidBlockList")


def commit(cloud: Cloud, path: str, *names: str, where: str = "Latest") -> Response:
    """Make a blob of blocks."""
    listed = "".join(f"<{where}>{name}</{where}>" for name in names)
    return blob(cloud, "PUT", path, f"<BlockList>{listed}</BlockList>".encode(), query="&comp=blocklist")


def blocks(cloud: Cloud, path: str, which: str) -> str:
    """The list of a blob's blocks."""
    answer = blob(cloud, "GET", path, query=f"&comp=blocklist&blocklisttype={which}")
    assert answer.status == 200
    return answer.body.decode().partition("<BlockList>")[2].removesuffix("</BlockList>")


def test_blocks_are_listed(cloud: Cloud) -> None:
    """Blocks wait until a list names them; then they are the blob's, and what was not named is dropped."""
    assert code(blob(cloud, "GET", "big", query="&comp=blocklist")) == (404, "BlobNotFound")
    for name, data in (("b1", b"one"), ("b2", b"two!"), ("b3", b"x")):
        blob(cloud, "PUT", "big", data, query=f"&comp=block&blockid={name}")
    one = "<Block><Name>b1</Name><Size>3</Size></Block>"
    two = "<Block><Name>b2</Name><Size>4</Size></Block>"
    three = "<Block><Name>b3</Name><Size>1</Size></Block>"
    waiting = f"<UncommittedBlocks>{one}{two}{three}</UncommittedBlocks>"
    assert blocks(cloud, "big", "uncommitted") == waiting
    assert blocks(cloud, "big", "committed") == "<CommittedBlocks></CommittedBlocks>"
    assert commit(cloud, "big", "b2", "b1").status == 201
    made = f"<CommittedBlocks>{two}{one}</CommittedBlocks>"
    assert blocks(cloud, "big", "all") == f"{made}<UncommittedBlocks></UncommittedBlocks>"
    answer = blob(cloud, "GET", "big", query="&comp=blocklist&blocklisttype=some")
    assert code(answer) == (400, "InvalidQueryParameterValue")


def test_a_blob_is_made_of_its_own_blocks_again(cloud: Cloud) -> None:
    """A list that is sent twice makes the same blob twice; a block of both kinds is the one that waits."""
    blob(cloud, "PUT", "big", b"one", query="&comp=block&blockid=b1")
    blob(cloud, "PUT", "big", b"two", query="&comp=block&blockid=b2")
    assert [commit(cloud, "big", "b1", "b2").status for _ in range(2)] == [201, 201]
    assert blob(cloud, "GET", "big").body == b"onetwo"
    blob(cloud, "PUT", "big", b"new", query="&comp=block&blockid=b2")
    assert commit(cloud, "big", "b1", "b2", where="Uncommitted").status == 400
    assert commit(cloud, "big", "b1", "b2", where="Committed").status == 201
    assert blob(cloud, "GET", "big").body == b"onetwo"
    blob(cloud, "PUT", "big", b"new", query="&comp=block&blockid=b2")
    commit(cloud, "big", "b1", "b2")
    assert blob(cloud, "GET", "big").body == b"onenew"


def test_a_whole_blob_drops_the_blocks_that_wait(cloud: Cloud) -> None:
    """Nothing of an upload in blocks is left after one in a single request."""
    blob(cloud, "PUT", "big", b"one", query="&comp=block&blockid=b1")
    blob(cloud, "PUT", "big", b"whole")
    assert blocks(cloud, "big", "all") == (
        "<CommittedBlocks></CommittedBlocks><UncommittedBlocks></UncommittedBlocks>"
    )
    assert code(commit(cloud, "big", "b1")) == (400, "InvalidBlockList")


def test_names_of_blocks_are_of_one_length(cloud: Cloud) -> None:
    """Another length is refused as long as blocks wait."""
    blob(cloud, "PUT", "big", b"one", query="&comp=block&blockid=b1")
    refused = blob(cloud, "PUT", "big", b"two", query="&comp=block&blockid=b02")
    assert code(refused) == (400, "InvalidBlobOrBlock")
    commit(cloud, "big", "b1")
    assert blob(cloud, "PUT", "big", b"two", query="&comp=block&blockid=b02").status == 201


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_blob_is_read_as_long_as_it_is_the_same(cloud: Cloud, method: str) -> None:
    """A read that names a version is refused once there is another."""
    tag = blob(cloud, "PUT", "a", b"one").headers["ETag"]
    assert blob(cloud, method, "a", if_match=tag).status == 200
    assert blob(cloud, method, "a", if_match="*").status == 200
    blob(cloud, "PUT", "a", b"two")
    assert code(blob(cloud, method, "a", if_match=tag)) == (412, "ConditionNotMet")


def test_who_may_read(cloud: Cloud) -> None:
    """A blob opens to its own signature and to a token for storage, and to nothing else."""
    cloud.storage.put("a", b"x")
    cloud.storage.put("b", b"y")
    url = cloud.storage.url("a")
    bare = url.partition("?")[0]
    storage, _ = cloud.identity.issue(STORAGE_AUDIENCE)
    arm, _ = cloud.identity.issue(ARM_AUDIENCE)

    def get(url: str, token: str | None = None, method: str = "GET") -> Response:
        return cloud.handle(Request(method, url, {"authorization": f"Bearer {token}"} if token else {}))

    assert get(url).body == b"x"
    assert get(bare, storage).body == b"x"
    assert get(bare, arm).status == 401
    assert code(get(bare)) == (409, "PublicAccessNotPermitted")
    assert code(get(url.replace("/a?", "/b?"))) == (403, "AuthenticationFailed")
    assert code(get(url.replace("sp=r", "sp=rw"))) == (403, "AuthenticationFailed")
    assert code(get(url.replace("se=", "xx="))) == (403, "AuthenticationFailed")
    assert code(get(url, method="PUT")) == (403, "AuthorizationPermissionMismatch")
    cloud.clock.advance(timedelta(minutes=30))
    assert code(get(url)) == (403, "AuthenticationFailed")


@pytest.mark.parametrize("form", ["short", "long", "https"])
def test_files_at_a_uri(cloud: Cloud, form: str) -> None:
    """A URI of any form gives the files of a folder by their path in it, and a single file by its name."""
    cloud.storage.put("in/x/a.txt", b"a")
    cloud.storage.put("in/x/y/b.txt", b"b")
    cloud.storage.put("in/xz.txt", b"c")
    container = cloud.storage.datastore("workspaceblobstore").name
    base = {
        "short": "azureml://datastores/workspaceblobstore/paths/",
        "long": cloud.storage.long_uri(""),
        "https": f"https://{cloud.storage.host}/{container}/",
    }[form]
    assert cloud.storage.read(f"{base}in/x/") == {"a.txt": b"a", "y/b.txt": b"b"}
    assert cloud.storage.read(f"{base}in/x") == {"a.txt": b"a", "y/b.txt": b"b"}
    assert cloud.storage.read(f"{base}in/x/a.txt") == {"a.txt": b"a"}
    with pytest.raises(ServiceError, match=r"StreamAccess\.NotFound"):
        cloud.storage.read(f"{base}in/none")


class TestWithTheRealClient:
    """What azure-storage-blob does with these answers."""

    @staticmethod
    def container(azure: FakeAzure, block_size: int = 4) -> ContainerClient:
        """A client of the default datastore's container, which uploads in small blocks."""
        storage = azure.cloud.storage
        name = storage.datastore("workspaceblobstore").name
        url = f"https://{storage.host}/{name}?{storage.sas(timedelta(hours=1))}"
        return ContainerClient.from_container_url(
            url, max_single_put_size=block_size, max_block_size=block_size, retry_total=0
        )

    # azure-storage-blob 12 reads datetimes in a way that Python calls deprecated.
    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_upload_and_download(self) -> None:
        """A blob larger than a block goes up in blocks and comes down in ranges; an empty one comes down too."""
        data = bytes(range(256))
        with FakeAzure() as azure:
            client = self.container(azure, block_size=100)
            client.upload_blob("big.bin", data, metadata={"who": "me"})
            client.upload_blob("empty.bin", b"")
            with pytest.raises(ResourceExistsError):
                client.upload_blob("empty.bin", b"more")
            assert client.download_blob("big.bin").readall() == data
            assert client.download_blob("empty.bin").readall() == b""
            assert client.get_blob_client("big.bin").get_blob_properties().metadata == {"who": "me"}
            assert not client.get_blob_client("none").exists()
            with pytest.raises(ResourceNotFoundError):
                client.download_blob("none")

    def test_listing(self) -> None:
        """Lists go page by page, below a prefix, and fold what lies behind a delimiter."""
        with FakeAzure() as azure:
            for number in range(7):
                azure.cloud.storage.put(f"a/{number} & <x>.txt", b"x", {"n": str(number)})
            azure.cloud.storage.put("a/sub/one.txt", b"x")
            azure.cloud.storage.put("a/sub/two.txt", b"x")
            azure.cloud.storage.put("b.txt", b"x")
            client = self.container(azure)
            pages = list(client.list_blobs("a/", include=["metadata"], results_per_page=4).by_page())
            names = [[item.name for item in page] for page in pages]
            assert [len(page) for page in names] == [4, 4, 1]
            assert names[0][0] == "a/0 & <x>.txt"
            walked = sorted(item.name for item in client.walk_blobs("a/", delimiter="/"))
            assert walked == [f"a/{number} & <x>.txt" for number in range(7)] + ["a/sub/"]
            assert [item.metadata for item in client.list_blobs("a/6", include=["metadata"])] == [{"n": "6"}]

    def test_a_name_that_xml_cannot_hold(self) -> None:
        """It is listed all the same."""
        with FakeAzure() as azure:
            azure.cloud.storage.put("a/\x01 & \ufffe.txt", b"x")
            names = [item.name for item in self.container(azure).list_blobs("a/")]
            assert names == ["a/\x01 & \ufffe.txt"]

    def test_blocks_that_wait(self) -> None:
        """They are listed with their sizes, and others than those of the blob."""
        with FakeAzure() as azure:
            client = self.container(azure).get_blob_client("big.bin")
            client.stage_block("b1", b"one")
            client.commit_block_list([BlobBlock("b1")])
            client.stage_block("b2", b"two!")
            committed, waiting = client.get_block_list("all")
            assert [(block.id, block.size) for block in committed] == [("b1", 3)]
            assert [(block.id, block.size) for block in waiting] == [("b2", 4)]

    def test_expired_signature(self) -> None:
        """An expired signature is an error of authentication."""
        with FakeAzure() as azure:
            client = self.container(azure)
            azure.clock.advance(timedelta(hours=2))
            with pytest.raises(HttpResponseError) as caught:
                client.upload_blob("a", b"x")
            assert caught.value.status_code == 403
