"""Blobs, and the containers that hold them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from phi_finetune.emulator.core.errors import ServiceError

__all__ = ["Blob", "Container"]


@dataclass
class Blob:
    """A block blob.

    Attributes:
        source: Its bytes, or what gives them at each read: a log that its job is still writing.
        etag: Changes with each write.
        modified: When it was written last.
        metadata: Names in lower case.
    """

    source: bytes | Callable[[], bytes]
    etag: str
    modified: datetime
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def data(self) -> bytes:
        """The bytes, as they are now."""
        return self.source if isinstance(self.source, bytes) else self.source()


class Container:
    """The blobs of one container, by path, and the blocks that wait to be committed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._blobs: dict[str, Blob] = {}
        self._blocks: dict[str, dict[str, bytes]] = {}

    def find(self, path: str) -> Blob | None:
        """The blob at a path, or None."""
        return self._blobs.get(path)

    def get(self, path: str) -> Blob:
        """The blob at a path.

        Raises:
            ServiceError: 404 where there is none.
        """
        blob = self._blobs.get(path)
        if blob is None:
            raise ServiceError(404, "BlobNotFound", "The specified blob does not exist.")
        return blob

    def put(self, path: str, blob: Blob, *, only_new: bool = False) -> None:
        """Write a blob.

        Raises:
            ServiceError: 409 where ``only_new`` is asked for and there is one.
        """
        if only_new and path in self._blobs:
            raise ServiceError(409, "BlobAlreadyExists", "The specified blob already exists.")
        self._blobs[path] = blob

    def stage(self, path: str, block: str, data: bytes) -> None:
        """Hold a block until a block list names it."""
        self._blocks.setdefault(path, {})[block] = data

    def take_blocks(self, path: str, blocks: Sequence[str]) -> bytes:
        """The bytes of the staged blocks in this order; whatever else was staged for the path is dropped.

        Raises:
            ServiceError: 400 where one was never staged.
        """
        staged = self._blocks.pop(path, {})
        if not set(blocks) <= set(staged):
            raise ServiceError(400, "InvalidBlockList", "The specified block list is invalid.")
        return b"".join(staged[block] for block in blocks)

    def delete(self, path: str) -> None:
        """Remove a blob.

        Raises:
            ServiceError: 404 where there is none.
        """
        self.get(path)
        del self._blobs[path]

    def under(self, prefix: str) -> Iterator[tuple[str, Blob]]:
        """The blobs whose path begins with a prefix, by path."""
        return ((path, self._blobs[path]) for path in sorted(self._blobs) if path.startswith(prefix))
