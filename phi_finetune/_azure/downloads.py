"""Downloads out of the workspace's blob store: in ranges, a few at a time, and each of the content that was listed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from phi_finetune._azure.blob_store import StoredFile, ask
from phi_finetune._azure.client import Client
from phi_finetune._azure.parallel import in_parallel
from phi_finetune._azure.translate import expect
from phi_finetune.errors import UnexpectedAnswer
from phi_finetune.events import DownloadProgress

__all__ = ["download"]

RANGE_BYTES = 8 * 1024 * 1024


def download(client: Client, files: Mapping[Path, StoredFile], *, resource: str) -> None:
    """Copy files out of the store; no more is held in memory than four ranges of 8 MiB.

    When this returns, all of them are on the disk, not only on their way to it.

    Args:
        client: The workspace's handle.
        files: Where each file goes, and which it is. No such path is there yet; folders are made.
        resource: What they are part of, for events and errors.

    Raises:
        ServiceError: A file has changed since it was listed (HTTP 412).
        UnexpectedAnswer: Less came, or more, than was asked for.
        OSError: A file cannot be written.
    """
    size_bytes = sum(file.size_bytes for file in files.values())
    received_bytes = 0

    def write(part: tuple[Path, int, bytes]) -> None:
        nonlocal received_bytes
        path, start, data = part
        with path.open("r+b") as target:
            target.seek(start)
            target.write(data)
        received_bytes += len(data)
        client.notify(
            DownloadProgress(resource=resource, received_bytes=received_bytes, size_bytes=size_bytes)
        )

    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(exist_ok=False)
    in_parallel(_ranges(client, files, resource), write)
    for path in files:
        _keep(path)


def _ranges(
    client: Client, files: Mapping[Path, StoredFile], resource: str
) -> Iterator[Callable[[], tuple[Path, int, bytes]]]:
    for path, file in files.items():
        for start in range(0, file.size_bytes, RANGE_BYTES):
            yield partial(_read, client, path, file, start, resource)


def _read(client: Client, path: Path, file: StoredFile, start: int, resource: str) -> tuple[Path, int, bytes]:
    end = min(start + RANGE_BYTES, file.size_bytes)
    # Never parts of two contents: the store refuses once there is another (412).
    headers = {"x-ms-range": f"bytes={start}-{end - 1}", "If-Match": f'"{file.etag}"'}
    answer = ask(client, "GET", file.path, headers=headers)
    next_call = "call again: the files are listed anew" if answer.status == 412 else None
    expect(answer, 206, doing=f"read {file.path}", resource=resource, next_call=next_call)
    if len(answer.body) == end - start:
        return path, start, answer.body
    raise UnexpectedAnswer(
        "The blob store gave another part of a file than was asked for",
        resource=resource,
        why=f"{len(answer.body)} bytes of {file.path} came for {end - start}",
        next_call="call again",
    )


def _keep(path: Path) -> None:
    """Have a file's bytes written to the disk itself, so that a loss of power cannot take them back."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())
