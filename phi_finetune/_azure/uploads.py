"""Uploads into the workspace's blob store: by content, in blocks, and from where an earlier one broke off."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from urllib.parse import quote

import attrs

from phi_finetune._azure.blob_store import ask, open_store, read_xml
from phi_finetune._azure.client import Client
from phi_finetune._azure.parallel import in_parallel
from phi_finetune._azure.rest import Answer
from phi_finetune._azure.translate import expect, refuse
from phi_finetune._unshown import UnshownBytes
from phi_finetune.errors import InvalidData, ServiceUnreachable
from phi_finetune.events import Uploaded, UploadProgress

__all__ = ["upload"]

BLOCK_BYTES = 8 * 1024 * 1024
SENT_UNASKED_BYTES = 1024 * 1024
_DIGITS_OF_DIGEST = 40
"""So a block's name has 46 characters, as those of azure-storage-blob 12 have: the store takes only names of one
length for a blob, and what that client left half sent would be in the way for a week."""


@attrs.frozen
class _File:
    """A file on its way.

    Attributes:
        path: Where it comes to lie in the store.
        name: Its own name.
        sha256: The digest that its content must have, in hexadecimal.
        size_bytes: Its size.
    """

    path: str
    name: str
    sha256: str
    size_bytes: int

    @property
    def resource(self) -> str:
        return f"blob {self.path}"

    @property
    def marks(self) -> dict[str, str]:
        """azure-ai-ml's own marks of a finished upload."""
        return {
            "x-ms-meta-upload_status": "completed",
            "x-ms-meta-name": quote(self.name),
            "x-ms-meta-version": "1",
        }

    def check(self, sha256: str) -> None:
        """Refuse another content than was measured before.

        Raises:
            InvalidData: It is another.
        """
        if sha256 != self.sha256:
            raise InvalidData(
                "The file changed while it was uploaded",
                resource=f"file {self.name}",
                why="its digest is another than a moment ago; what was sent of it is not used",
                next_call="call again once nothing writes to it",
                file=self.name,
            )


def upload(
    client: Client,
    *,
    file_name: str,
    sha256: str,
    size_bytes: int,
    content: Callable[[], Iterable[bytes]],
    folder: str | None = None,
) -> str:
    """Put a file into the store under its content's digest, unless it is there; give its ``azureml://`` address.

    The place is azure-ai-ml's own (``LocalUpload/<sha256>/<file name>``), with its mark of a finished upload, so
    each finds what the other has sent. A large file is read once, and goes in blocks of 8 MiB, four at a time; blocks
    that the store holds from an upload that broke off are not sent again.

    Args:
        client: The workspace's handle.
        file_name: The file's name.
        sha256: The digest of its content, in hexadecimal.
        size_bytes: Its size.
        content: Gives what it holds, in pieces.
        folder: The folder below ``LocalUpload`` where the file is one of several: a digest of all of them, so that no
            other content can come there. None is the file's own digest.

    Raises:
        InvalidData: The content is not what the digest says: somebody writes to the file.
    """
    file = _File(f"LocalUpload/{folder or sha256}/{file_name}", file_name, sha256, size_bytes)
    # A small file costs less to send than to ask for; the store itself refuses to write it a second time.
    if size_bytes <= SENT_UNASKED_BYTES:
        reused = not _send_small(client, file, UnshownBytes(b"".join(content())))
    else:
        reused = _is_there(client, file)
        if not reused:
            _send_blocks(client, file, content())
    client.notify(Uploaded(resource=f"file {file_name}", size_bytes=size_bytes, reused=reused))
    return f"azureml://datastores/workspaceblobstore/paths/{file.path}"


def _is_there(client: Client, file: _File) -> bool:
    head = ask(client, "HEAD", file.path)
    if head.status not in (200, 404):
        refuse(head, doing="look for the file in the blob store", resource=file.resource)
    return (
        head.status == 200
        and head.headers.get("x-ms-meta-upload_status") == "completed"
        and head.headers.get("content-length") == str(file.size_bytes)
    )


def _send_small(client: Client, file: _File, content: bytes) -> bool:
    """Send a file in one request; False where its whole content was there already."""
    file.check(hashlib.sha256(content).hexdigest())
    headers = {**file.marks, "x-ms-blob-type": "BlockBlob"}
    here = partial(_is_there, client, file)
    answer = _put(client, file, content, {**headers, "If-None-Match": "*"}, applied=here)
    if answer is not None and answer.status == 409:
        if here():
            return False
        answer = _put(client, file, content, headers, applied=here)
    if answer is not None:
        expect(answer, 201, doing="upload the file", resource=file.resource)
    return True


def _send_blocks(client: Client, file: _File, content: Iterable[bytes]) -> None:
    held = _held(client, file)
    whole = hashlib.sha256()
    names: list[str] = []
    sent_bytes = 0

    def count(size: int) -> None:
        nonlocal sent_bytes
        sent_bytes += size
        client.notify(
            UploadProgress(resource=f"file {file.name}", sent_bytes=sent_bytes, size_bytes=file.size_bytes)
        )

    def missing() -> Iterator[Callable[[], int]]:
        for block in _blocks(content):
            whole.update(block)
            names.append(_block_name(len(names), block))
            if held.get(names[-1]) == len(block):
                count(len(block))
            else:
                yield partial(_send_block, client, file, names[-1], block)

    in_parallel(missing(), count)
    file.check(whole.hexdigest())
    _commit(client, file, names)


def _held(client: Client, file: _File) -> Mapping[str, int]:
    """The blocks that the store holds for the file and has made no blob of, with their sizes in bytes."""
    answer = ask(client, "GET", file.path, query="comp=blocklist&blocklisttype=uncommitted")
    if answer.status == 404:
        return {}
    expect(answer, 200, doing="look what was uploaded before", resource=file.resource)
    blocks = read_xml(answer, file.resource).iterfind("./UncommittedBlocks/Block")
    return {block.findtext("Name") or "": int(block.findtext("Size") or 0) for block in blocks}


def _send_block(client: Client, file: _File, name: str, block: bytes) -> int:
    query = f"comp=block&blockid={quote(name, safe='')}"
    answer = _put(client, file, block, {}, query=query, applied=lambda: name in _held(client, file))
    if answer is not None:
        expect(answer, 201, doing="upload a part of the file", resource=file.resource)
    return len(block)


def _commit(client: Client, file: _File, names: Iterable[str]) -> None:
    # The mark goes with the list: until that is applied there is no blob, so half a file never looks whole. "Latest"
    # also finds blocks of which another upload of the file has made the blob meanwhile.
    listed = "".join(f"<Latest>{name}</Latest>" for name in names)
    body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{listed}</BlockList>'.encode()
    here = partial(_is_there, client, file)
    answer = _put(client, file, body, file.marks, query="comp=blocklist", applied=here)
    if answer is not None:
        expect(answer, 201, doing="upload the file", resource=file.resource)


def _put(
    client: Client,
    file: _File,
    content: bytes,
    headers: Mapping[str, str],
    *,
    query: str = "",
    applied: Callable[[], bool],
) -> Answer | None:
    """Write something; None where the answer was lost, and a look shows that it was written.

    Raises:
        ServiceUnreachable: The answer was lost, and nothing was written.
    """
    open_store(client)
    try:
        return ask(client, "PUT", file.path, query=query, content=content, headers=headers)
    except ServiceUnreachable:
        if applied():
            return None
        raise


def _block_name(number: int, block: bytes) -> str:
    digest = hashlib.sha256(block).hexdigest()[:_DIGITS_OF_DIGEST]
    return base64.b64encode(f"{number:05d}-{digest}".encode()).decode()


def _blocks(content: Iterable[bytes]) -> Iterator[UnshownBytes]:
    block = bytearray()
    for piece in content:
        block += piece
        while len(block) >= BLOCK_BYTES:
            yield UnshownBytes(block[:BLOCK_BYTES])
            del block[:BLOCK_BYTES]
    if block:
        yield UnshownBytes(block)
