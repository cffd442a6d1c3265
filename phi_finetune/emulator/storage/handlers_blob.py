"""Parse and answer the calls of Azure Storage's blob client (wire.md 13.5)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.core.http import Request, Response, empty
from phi_finetune.emulator.storage.blobs import Blob, Container
from phi_finetune.emulator.storage.listing import block_list, listing

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["STORAGE_AUDIENCE", "delete", "get", "head", "list_blobs", "put"]

STORAGE_AUDIENCE = "https://storage.azure.com"

_META = "x-ms-meta-"
_HTTP_TIME = "%a, %d %b %Y %H:%M:%S GMT"
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_BLOCK = re.compile(rb"<(Latest|Uncommitted|Committed)>([^<]+)<")


def list_blobs(cloud: Cloud, request: Request) -> Response:
    """The blobs of a container, a page at a time."""
    container = _admit(cloud, request, "l")
    if request.query.get("comp") != "list":
        raise ServiceError(
            400, "InvalidQueryParameterValue", "Only the list of a container's blobs can be read."
        )
    body = listing(container, request.query, f"https://{cloud.storage.host}/")
    return Response(200, {"Content-Type": "application/xml", "x-ms-version": _version(request)}, body)


def head(cloud: Cloud, request: Request) -> Response:
    """A blob's properties."""
    container = _admit(cloud, request, "r")
    blob = container.get(request.params["blob"])
    _check_unchanged(request, blob)
    return Response(200, {**_properties(request, blob), "Content-Length": str(blob.size)})


def get(cloud: Cloud, request: Request) -> Response:
    """A blob's bytes, or the range of them that was asked for; or the list of its blocks."""
    container = _admit(cloud, request, "r")
    if request.query.get("comp") == "blocklist":
        body = block_list(container, request.params["blob"], request.query.get("blocklisttype", "committed"))
        return Response(200, {"Content-Type": "application/xml", "x-ms-version": _version(request)}, body)
    blob = container.get(request.params["blob"]).as_it_is()
    _check_unchanged(request, blob)
    headers = _properties(request, blob)
    size = blob.size
    asked = _RANGE.fullmatch(request.headers.get("x-ms-range") or request.headers.get("range") or "")
    if asked is None:
        return Response(200, headers, blob.data)
    first = int(asked[1])
    if first >= size:
        # An empty blob has no first byte: the client expects this and takes it for the end (wire.md 13.5).
        raise ServiceError(
            416, "InvalidRange", "The range specified is invalid for the current size of the resource."
        )
    last = min(int(asked[2] or size), size - 1)
    part = {**headers, "Content-Range": f"bytes {first}-{last}/{size}"}
    return Response(206, part, blob.part(first, last))


def put(cloud: Cloud, request: Request) -> Response:
    """Write a blob, its metadata, one of its blocks, or the list that makes a blob of the blocks."""
    container = _admit(cloud, request, "cw")
    path = request.params["blob"]
    what = request.query.get("comp")
    if what == "block":
        container.stage(path, request.query.get("blockid", ""), request.body)
        return empty(201, {"x-ms-request-server-encrypted": "true"})
    if what == "metadata":
        blob = container.get(path)
        blob.metadata = _metadata(request)
        return empty(200, _stamp(request, blob))
    if what not in (None, "blocklist"):
        raise ServiceError(400, "InvalidQueryParameterValue", f"The emulator does not know comp={what}.")
    blob = cloud.storage.blob(request.body, _metadata(request))
    if what == "blocklist":
        wanted = [(where.decode(), name.decode()) for where, name in _BLOCK.findall(request.body)]
        blocks = container.find_blocks(path, wanted)
        blob.source = cloud.storage.content(b"".join(data for _, data in blocks))
        blob.blocks = {name: len(data) for name, data in blocks}
    container.put(path, blob, only_new=request.headers.get("if-none-match") == "*")
    return empty(201, {**_stamp(request, blob), "x-ms-request-server-encrypted": "true"})


def delete(cloud: Cloud, request: Request) -> Response:
    """Remove a blob."""
    _admit(cloud, request, "d").delete(request.params["blob"])
    return empty(202, {"x-ms-version": _version(request)})


def _admit(cloud: Cloud, request: Request, need: str) -> Container:
    if request.bearer is not None:
        cloud.identity.check(request, (STORAGE_AUDIENCE,))
    elif "sig" in request.query:
        name, blob = request.params["container"], request.params.get("blob", "")
        cloud.storage.check_sas(request.query, container=name, blob=blob, need=need)
    else:
        raise ServiceError(
            409, "PublicAccessNotPermitted", "Public access is not permitted on this storage account."
        )
    return cloud.storage.container(request.params["container"])


def _check_unchanged(request: Request, blob: Blob) -> None:
    if request.headers.get("if-match", "*") not in ("*", f'"{blob.etag}"'):
        raise ServiceError(
            412, "ConditionNotMet", "The condition specified using HTTP conditional header(s) is not met."
        )


def _metadata(request: Request) -> dict[str, str]:
    return {
        name.removeprefix(_META): value for name, value in request.headers.items() if name.startswith(_META)
    }


def _properties(request: Request, blob: Blob) -> dict[str, str]:
    metadata = {f"{_META}{name}": value for name, value in blob.metadata.items()}
    fixed = {
        "Content-Type": "application/octet-stream",
        "Accept-Ranges": "bytes",
        "x-ms-blob-type": "BlockBlob",
        "x-ms-creation-time": blob.modified.strftime(_HTTP_TIME),
        "x-ms-server-encrypted": "true",
        "x-ms-lease-status": "unlocked",
        "x-ms-lease-state": "available",
    }
    return {**fixed, **_stamp(request, blob), **metadata}


def _stamp(request: Request, blob: Blob) -> dict[str, str]:
    return {
        "ETag": f'"{blob.etag}"',
        "Last-Modified": blob.modified.strftime(_HTTP_TIME),
        "x-ms-version": _version(request),
    }


def _version(request: Request) -> str:
    headers: Mapping[str, str] = request.headers
    return headers.get("x-ms-version", "2023-11-03")
