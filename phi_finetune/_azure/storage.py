"""The workspace's blob store: upload by content, list, read. Through the one transport; nothing is sent twice."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from urllib.parse import quote

import attrs

from phi_finetune._azure.client import Client
from phi_finetune._azure.rest import Answer
from phi_finetune._azure.translate import expect, refuse
from phi_finetune._unshown import SignedUrl, UnshownBytes
from phi_finetune.errors import AuthenticationFailed, UnexpectedAnswer
from phi_finetune.events import Uploaded

__all__ = ["list_blobs", "read_blob", "upload"]

API = "2024-10-01-preview"
BLOB_API = "2023-11-03"
BLOCK_BYTES = 8 * 1024 * 1024
SENT_UNASKED_BYTES = 1024 * 1024
SECRETS_LAST_S = 50 * 60.0
"""A SAS is asked for one hour (wire.md 5), and asked for anew before that is over."""


@attrs.frozen
class _Store:
    url: str
    sas: str = attrs.field(repr=False)
    until: float

    def blob(self, path: str, query: str = "") -> SignedUrl:
        parts = [part for part in (query, self.sas) if part]
        return SignedUrl(f"{self.url}/{quote(path)}" + ("?" + "&".join(parts) if parts else ""))


def upload(
    client: Client, *, file_name: str, sha256: str, size_bytes: int, content: Callable[[], Iterable[bytes]]
) -> str:
    """Put a file into the store under its content's digest, unless it is there; give its ``azureml://`` address.

    The place is azure-ai-ml's own (``LocalUpload/<sha256>/<file name>``), with its mark of a finished upload, so
    each finds what the other has sent. A signature that the store refuses is asked for anew, once.
    """
    path = f"LocalUpload/{sha256}/{file_name}"
    try:
        reused = _put_file(client, path, file_name, size_bytes, content())
    except AuthenticationFailed:
        client.forget("blob store")
        reused = _put_file(client, path, file_name, size_bytes, content())
    client.notify(Uploaded(resource=f"file {file_name}", size_bytes=size_bytes, reused=reused))
    return f"azureml://datastores/workspaceblobstore/paths/{path}"


def _put_file(client: Client, path: str, file_name: str, size_bytes: int, content: Iterable[bytes]) -> bool:
    """Put a file at a path; give whether it was there already."""
    store = _store(client)
    # A small file costs less to send than to ask for; the store itself refuses to write it a second time.
    if size_bytes <= SENT_UNASKED_BYTES:
        return not _send_small(client, store, path, UnshownBytes(b"".join(content)), file_name)
    if _is_there(client, store, path, size_bytes):
        return True
    _send(client, store, path, content, file_name)
    return False


def list_blobs(client: Client, prefix: str) -> list[str]:
    """The paths of all blobs under a prefix."""
    from xml.etree import ElementTree

    store = _store(client)
    names: list[str] = []
    marker = ""
    while True:
        query = f"restype=container&comp=list&prefix={quote(prefix, safe='')}&marker={quote(marker, safe='')}"
        url = SignedUrl(f"{store.url}?{query}" + (f"&{store.sas}" if store.sas else ""))
        answer = client.rest.send("GET", url, headers=_headers(), signed=not store.sas)
        expect(answer, 200, doing="list the blobs", resource=f"blobs under {prefix}")
        try:
            tree = ElementTree.fromstring(answer.body)
        except ElementTree.ParseError:
            raise UnexpectedAnswer(
                "The list of blobs cannot be read", resource=f"blobs under {prefix}", next_call="call again"
            ) from None
        names.extend(name.text or "" for name in tree.iterfind("./Blobs/Blob/Name"))
        marker = tree.findtext("NextMarker") or ""
        if not marker:
            return names


def read_blob(client: Client, path: str) -> bytes:
    """A blob's content."""
    store = _store(client)
    answer = client.rest.send("GET", store.blob(path), headers=_headers(), signed=not store.sas)
    return expect(answer, 200, doing="read the blob", resource=f"blob {path}").body


def blob_path(uri: str) -> str:
    """The path within the default store that an ``azureml://`` address names.

    Raises:
        UnexpectedAnswer: It is an address of another kind or another store.
    """
    found = re.fullmatch(r"azureml://(?:.*/)?datastores/workspaceblobstore/paths/(.+)", uri)
    if found is None:
        raise UnexpectedAnswer("This address is not in the workspace's blob store", resource=f"address {uri}")
    return found.group(1)


def _is_there(client: Client, store: _Store, path: str, size_bytes: int) -> bool:
    head = client.rest.send("HEAD", store.blob(path), headers=_headers(), signed=not store.sas)
    if head.status not in (200, 404):
        refuse(head, doing="look for the file in the blob store", resource=f"blob {path}")
    return (
        head.status == 200
        and head.headers.get("x-ms-meta-upload_status") == "completed"
        and head.headers.get("content-length") == str(size_bytes)
    )


def _send_small(client: Client, store: _Store, path: str, content: bytes, file_name: str) -> bool:
    """Send a file in one request; False where its whole content was there already."""
    headers = {**_marks(file_name), "x-ms-blob-type": "BlockBlob"}
    answer = _put(client, store.blob(path), content, {**headers, "If-None-Match": "*"})
    if answer.status == 409 and _is_there(client, store, path, len(content)):
        return False
    if answer.status == 409:
        answer = _put(client, store.blob(path), content, headers)
    expect(answer, 201, doing="upload the file", resource=f"blob {path}")
    return True


def _send(client: Client, store: _Store, path: str, content: Iterable[bytes], file_name: str) -> None:
    resource = f"blob {path}"
    names: list[str] = []
    for block in _blocks(content):
        name = base64.b64encode(f"{len(names):08d}".encode()).decode()
        url = store.blob(path, f"comp=block&blockid={quote(name, safe='')}")
        expect(_put(client, url, block, {}), 201, doing="upload a part of the file", resource=resource)
        names.append(name)
    listed = "".join(f"<Latest>{name}</Latest>" for name in names)
    body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{listed}</BlockList>'.encode()
    # The mark goes with the list: until that is applied there is no blob, so half a file never looks whole.
    answer = _put(client, store.blob(path, "comp=blocklist"), body, _marks(file_name))
    expect(answer, 201, doing="upload the file", resource=resource)


def _marks(file_name: str) -> dict[str, str]:
    return {"x-ms-meta-upload_status": "completed", "x-ms-meta-name": file_name, "x-ms-meta-version": "1"}


def _put(client: Client, url: str, content: bytes, headers: Mapping[str, str]) -> Answer:
    return client.rest.send(
        "PUT", url, content=content, headers={**_headers(), **headers}, signed="sig=" not in url
    )


def _blocks(content: Iterable[bytes]) -> Iterator[UnshownBytes]:
    block = bytearray()
    for piece in content:
        block += piece
        while len(block) >= BLOCK_BYTES:
            yield UnshownBytes(block[:BLOCK_BYTES])
            del block[:BLOCK_BYTES]
    if block:
        yield UnshownBytes(block)


def _store(client: Client) -> _Store:
    store: _Store = client.remember("blob store", lambda: _open_store(client))
    if client.clock.monotonic() < store.until:
        return store
    client.forget("blob store")
    reopened: _Store = client.remember("blob store", lambda: _open_store(client))
    return reopened


def _open_store(client: Client) -> _Store:
    path = "/datastores/workspaceblobstore"
    resource = "datastore workspaceblobstore"
    body = client.get(path, api=API, resource=resource, doing="look up the datastore")
    properties = body.get("properties") or {}
    account, container = properties.get("accountName"), properties.get("containerName")
    if not account or not container:
        raise UnexpectedAnswer("The datastore does not say where it is", resource=resource)
    endpoint = properties.get("endpoint") or "core.windows.net"
    return _Store(
        url=f"https://{account}.blob.{endpoint}/{container}",
        sas=_sas(client, path, resource),
        until=client.clock.monotonic() + SECRETS_LAST_S,
    )


def _sas(client: Client, path: str, resource: str) -> str:
    """A signature for the store; empty where the workspace's identity must do (no right to secrets, or none kept)."""
    answer = client.rest.send(
        "POST",
        f"{client.url}{path}/listSecrets",
        query={"api-version": API},
        body={"expirableSecret": True, "expireAfterHours": 1},
    )
    if answer.status == 403:
        return ""
    secrets = expect(answer, 200, doing="read the datastore's access", resource=resource).json()
    return str(secrets.get("sasToken") or "").lstrip("?")


def _headers() -> dict[str, str]:
    return {"x-ms-version": BLOB_API, "Accept": "application/xml"}
