"""The workspace's blob store: where it is, the signature that opens it, and requests to it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import attrs

from phi_finetune._azure.client import Client
from phi_finetune._azure.rest import Answer
from phi_finetune._azure.translate import expect
from phi_finetune._unshown import SignedUrl
from phi_finetune.errors import UnexpectedAnswer

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

__all__ = ["StoredFile", "ask", "blob_path", "files_below", "open_store", "read_xml"]

API = "2024-10-01-preview"
BLOB_API = "2023-11-03"
SECRETS_LAST_S = 50 * 60.0
"""A SAS is asked for one hour (wire.md 5), and asked for anew before that is over."""
SIGNATURES_TRIED = 3
"""So many signatures are tried for one request, each asked for after the one before was refused."""
STORE = "blob store"


@attrs.frozen
class StoredFile:
    """A file in the store.

    Attributes:
        path: Its path in the store.
        size_bytes: Its size.
        etag: The mark of its present content.
    """

    path: str
    size_bytes: int
    etag: str


@attrs.frozen
class _Store:
    url: str
    sas: str = attrs.field(repr=False)
    until: float

    def address(self, path: str, query: str) -> SignedUrl:
        parts = [part for part in (query, self.sas) if part]
        where = f"{self.url}{'/' if path else ''}{quote(path)}"
        return SignedUrl(where + ("?" + "&".join(parts) if parts else ""))


def ask(
    client: Client,
    method: str,
    path: str,
    *,
    query: str = "",
    content: bytes | None = None,
    headers: Mapping[str, str] = {},
) -> Answer:
    """Send one request about a blob; a signature that the store refuses is asked for anew.

    An expired one is refused with 403 and ``AuthenticationFailed``, not with 401 (Azure's page "Common REST API
    error codes"). A right that is missing has other codes, which no other signature mends.

    Args:
        client: The workspace's handle.
        method: The HTTP method.
        path: The blob's path; empty for the container itself.
        query: What to ask, as a query string.
        content: Bytes to send.
        headers: Further headers.
    """
    sent = {"x-ms-version": BLOB_API, "Accept": "application/xml", **headers}

    def send(store: _Store) -> Answer:
        return client.rest.send(
            method, store.address(path, query), content=content, headers=sent, signed=not store.sas
        )

    answer = send(store := _store(client))
    for _ in range(SIGNATURES_TRIED - 1):
        if not (store.sas and _refuses_signature(answer)):
            break
        _forget(client, store)
        answer = send(store := _store(client))
    return answer


def open_store(client: Client) -> None:
    """Find out where the store is, and get a signature for it, so that whatever fails afterwards is about a blob."""
    _store(client)


def files_below(client: Client, prefix: str) -> Iterator[StoredFile]:
    """The files whose paths begin with a prefix, as the store lists them.

    The marks of folders, which a mounted store leaves, are none (azure-ai-ml 1.35.2 knows them by the same sign).
    """
    marker, resource = "", f"blobs under {prefix}"
    while True:
        query = "restype=container&comp=list&include=metadata"
        query += f"&prefix={quote(prefix, safe='')}&marker={quote(marker, safe='')}"
        answer = ask(client, "GET", "", query=query)
        tree = read_xml(expect(answer, 200, doing="list the blobs", resource=resource), resource)
        for blob in tree.iterfind("./Blobs/Blob"):
            if (blob.findtext("Metadata/hdi_isfolder") or "").lower() != "true":
                yield _file(blob, resource)
        marker = tree.findtext("NextMarker") or ""
        if not marker:
            return


def read_xml(answer: Answer, resource: str) -> Element:
    """An answer's body as XML.

    Raises:
        UnexpectedAnswer: It is none.
    """
    from xml.etree import ElementTree

    try:
        return ElementTree.fromstring(answer.body)
    except ElementTree.ParseError:
        raise UnexpectedAnswer(
            "The blob store's answer cannot be read", resource=resource, next_call="call again"
        ) from None


def blob_path(uri: str) -> str:
    """The path within the default store that an ``azureml://`` address names.

    Raises:
        UnexpectedAnswer: It is an address of another kind or another store.
    """
    found = re.fullmatch(r"azureml://(?:.*/)?datastores/workspaceblobstore/paths/(.+)", uri)
    if found is None:
        shown = uri.partition("?")[0]  # there may be a signature behind it
        raise UnexpectedAnswer(
            "This address is not in the workspace's blob store", resource=f"address {shown}"
        )
    return found.group(1)


def _file(blob: Element, resource: str) -> StoredFile:
    name, size = blob.find("Name"), blob.findtext("Properties/Content-Length") or ""
    etag = blob.findtext("Properties/Etag")
    if name is None or not name.text or etag is None or not re.fullmatch(r"[0-9]{1,15}", size):
        raise UnexpectedAnswer("The list of blobs lacks a name, a size or a version", resource=resource)
    encoded = name.get("Encoded") == "true"
    path = unquote(name.text) if encoded else name.text
    return StoredFile(path, int(size), etag.strip('"'))


def _refuses_signature(answer: Answer) -> bool:
    code = answer.headers.get("x-ms-error-code")
    return answer.status == 401 or (answer.status == 403 and code == "AuthenticationFailed")


def _forget(client: Client, store: _Store) -> None:
    # Several requests go at once: where one has asked anew already, its signature stays.
    if client.remember(STORE, lambda: store) is store:
        client.forget(STORE)


def _store(client: Client) -> _Store:
    store: _Store = client.remember(STORE, lambda: _open_store(client))
    if client.clock.monotonic() < store.until:
        return store
    _forget(client, store)
    reopened: _Store = client.remember(STORE, lambda: _open_store(client))
    return reopened


def _open_store(client: Client) -> _Store:
    path = "/datastores/workspaceblobstore"
    resource = "datastore workspaceblobstore"
    body = client.get(path, api=API, resource=resource, doing="look up the datastore")
    properties = body.get("properties") or {}
    account, container = properties.get("accountName"), properties.get("containerName")
    if not account or not container:
        raise UnexpectedAnswer("The datastore does not say where it is", resource=resource)
    endpoint = properties.get("endpoint") or client.cloud.blob.removeprefix(".blob.")
    has_secrets = (properties.get("credentials") or {}).get("credentialsType") != "None"
    return _Store(
        url=f"https://{account}.blob.{endpoint}/{container}",
        sas=_sas(client, path, resource) if has_secrets else "",
        until=client.clock.monotonic() + SECRETS_LAST_S,
    )


def _sas(client: Client, path: str, resource: str) -> str:
    """A signature for the store; empty where the caller's own identity must do, who has no right to secrets."""
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
