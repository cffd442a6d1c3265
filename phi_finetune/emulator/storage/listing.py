"""The XML that lists a container's blobs, or a blob's blocks (Azure's pages "List Blobs", "Get Block List")."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import escape  # what XML needs too; xml.sax loads an HTTP client
from urllib.parse import quote

from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.storage.blobs import Blob, Container

__all__ = ["block_list", "listing"]

_HTTP_TIME = "%a, %d %b %Y %H:%M:%S GMT"
_PAGE = 5000
_NOT_IN_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def listing(container: Container, query: Mapping[str, str], service: str) -> bytes:
    """One page: blobs below ``prefix``, those below the next ``delimiter`` folded into one prefix each.

    Args:
        container: Whose blobs.
        query: The request's ``prefix``, ``delimiter``, ``marker``, ``maxresults`` and ``include``.
        service: The account's URL.
    """
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    marker = query.get("marker", "")
    size = min(int(query.get("maxresults") or _PAGE), _PAGE)
    entries = [entry for entry in _entries(container, prefix, delimiter) if entry[0] >= marker]
    shown, rest = entries[:size], entries[size:]
    with_metadata = "metadata" in query.get("include", "")
    items = "".join(_item(name, blob, with_metadata) for name, blob in shown)
    parts = [
        '<?xml version="1.0" encoding="utf-8"?>',
        f'<EnumerationResults ServiceEndpoint="{escape(service)}"',
        f' ContainerName="{escape(container.name)}">',
        f"<Prefix>{escape(prefix)}</Prefix><MaxResults>{size}</MaxResults>",
        f"<Delimiter>{escape(delimiter)}</Delimiter>" if delimiter else "",
        f"<Blobs>{items}</Blobs>",
        f"<NextMarker>{escape(rest[0][0])}</NextMarker>" if rest else "<NextMarker />",
        "</EnumerationResults>",
    ]
    return "".join(parts).encode()


def block_list(container: Container, path: str, which: str) -> bytes:
    """The blocks of a blob.

    Args:
        container: Where it is.
        path: Its path.
        which: ``committed``, ``uncommitted`` or ``all``.

    Raises:
        ServiceError: 400 for another word; 404 where neither a blob is there nor a block waits for one (assumed).
    """
    if which not in ("committed", "uncommitted", "all"):
        raise ServiceError(
            400, "InvalidQueryParameterValue", f"There is no list of blocks of type {which!r}."
        )
    staged = container.staged(path)
    committed = {} if staged and container.find(path) is None else container.get(path).blocks
    parts = [
        "" if which == "uncommitted" else _blocks("CommittedBlocks", committed),
        "" if which == "committed" else _blocks("UncommittedBlocks", staged),
    ]
    return f'<?xml version="1.0" encoding="utf-8"?><BlockList>{"".join(parts)}</BlockList>'.encode()


def _blocks(tag: str, blocks: Mapping[str, int]) -> str:
    items = (
        f"<Block><Name>{escape(name)}</Name><Size>{size}</Size></Block>" for name, size in blocks.items()
    )
    return f"<{tag}>{''.join(items)}</{tag}>"


def _entries(container: Container, prefix: str, delimiter: str) -> Iterator[tuple[str, Blob | None]]:
    last = None
    for path, blob in container.under(prefix):
        head, found, _ = path[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
        if not found:
            yield path, blob
            continue
        folded = prefix + head + delimiter
        if folded != last:
            last = folded
            yield folded, None


def _item(name: str, blob: Blob | None, with_metadata: bool) -> str:
    if blob is None:
        return f"<BlobPrefix>{_name(name)}</BlobPrefix>"
    when = blob.modified.strftime(_HTTP_TIME)
    pairs = "".join(f"<{key}>{escape(value)}</{key}>" for key, value in blob.metadata.items())
    metadata = f"<Metadata>{pairs}</Metadata>" if with_metadata else ""
    return (
        f"<Blob>{_name(name)}<Properties><Creation-Time>{when}</Creation-Time>"
        f"<Last-Modified>{when}</Last-Modified><Etag>{blob.etag}</Etag>"
        f"<Content-Length>{blob.size}</Content-Length><Content-Type>application/octet-stream</Content-Type>"
        "<BlobType>BlockBlob</BlobType><LeaseStatus>unlocked</LeaseStatus><LeaseState>available</LeaseState>"
        f"<ServerEncrypted>true</ServerEncrypted></Properties>{metadata}</Blob>"
    )


def _name(name: str) -> str:
    # What XML cannot hold is sent percent-encoded, and the tag says so.
    if _NOT_IN_XML.search(name):
        return f'<Name Encoded="true">{quote(name)}</Name>'
    return f"<Name>{escape(name)}</Name>"
