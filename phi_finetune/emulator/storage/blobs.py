"""Blobs, and the containers that hold them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

from phi_finetune.emulator.core.errors import ServiceError

__all__ = ["Blob", "Container", "Contents", "Files", "StoredFile"]


@dataclass(frozen=True)
class StoredFile:
    """Bytes that lie in a file, and are read when they are asked for.

    Attributes:
        path: The file.
    """

    path: Path

    def __call__(self) -> bytes:
        """All of them."""
        return self.path.read_bytes()

    @property
    def size(self) -> int:
        """How many bytes they are."""
        return self.path.stat().st_size

    def part(self, first: int, last: int) -> bytes:
        """The bytes from one place to another, both counted in."""
        with self.path.open("rb") as file:
            file.seek(first)
            return file.read(last + 1 - first)


class Contents(Protocol):
    """Keeps what blobs hold somewhere else than in memory."""

    def keep(self, data: bytes) -> bytes | Callable[[], bytes]:
        """Keep bytes; what gives them back."""
        ...


@dataclass
class Blob:
    """A block blob.

    Attributes:
        source: Its bytes, or what gives them at each read: a log that its job is still writing.
        etag: Changes with each write.
        modified: When it was written last.
        metadata: Names in lower case.
        blocks: The blocks that it was made of, by name, with their sizes in bytes; none where it was put whole.
    """

    source: bytes | Callable[[], bytes]
    etag: str
    modified: datetime
    metadata: dict[str, str] = field(default_factory=dict)
    blocks: Mapping[str, int] = field(default_factory=dict)

    @property
    def data(self) -> bytes:
        """The bytes, as they are now."""
        return self.source if isinstance(self.source, bytes) else self.source()

    @property
    def size(self) -> int:
        """How many bytes they are."""
        return self.source.size if isinstance(self.source, StoredFile) else len(self.data)

    def as_it_is(self) -> Blob:
        """The same, with bytes that stay: a log that its job is writing does not grow while it is given."""
        live = not isinstance(self.source, bytes | StoredFile)
        return replace(self, source=self.data) if live else self

    def part(self, first: int, last: int) -> bytes:
        """The bytes from one place to another, both counted in."""
        if isinstance(self.source, StoredFile):
            return self.source.part(first, last)
        return self.data[first : last + 1]


class Files(Mapping[str, bytes]):
    """The bytes of blobs, or of files, by name, each read when it is asked for.

    Args:
        blobs: The blobs or files.
    """

    def __init__(self, blobs: Mapping[str, Blob | StoredFile]) -> None:
        self._blobs = blobs

    def __getitem__(self, name: str) -> bytes:
        found = self._blobs[name]
        return found() if isinstance(found, StoredFile) else found.data

    def path(self, name: str) -> Path | None:
        """The file that the bytes lie in; None for those that are in memory, or made up at each read."""
        found = self._blobs[name]
        source = found if isinstance(found, StoredFile) else found.source
        return source.path if isinstance(source, StoredFile) else None

    def __iter__(self) -> Iterator[str]:
        return iter(self._blobs)

    def __len__(self) -> int:
        return len(self._blobs)


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
        # Whatever was staged for the path is dropped (Azure's page "Put Block", remarks).
        self._blocks.pop(path, None)

    def stage(self, path: str, block: str, data: bytes) -> None:
        """Hold a block until a block list names it.

        Raises:
            ServiceError: 400 where its name is longer or shorter than those that are held (Azure's page "Put
                Block").
        """
        staged = self._blocks.setdefault(path, {})
        if any(len(block) != len(name) for name in staged):
            raise ServiceError(400, "InvalidBlobOrBlock", "The specified blob or block content is invalid.")
        staged[block] = data

    def staged(self, path: str) -> Mapping[str, int]:
        """The blocks that wait for a path, by name, with their sizes in bytes."""
        return {name: len(data) for name, data in self._blocks.get(path, {}).items()}

    def find_blocks(self, path: str, wanted: Sequence[tuple[str, str]]) -> list[tuple[str, bytes]]:
        """The blocks of a list, with their bytes, in its order.

        Args:
            path: Of which blob.
            wanted: For each block where to look, and its name: ``Uncommitted`` among the staged ones, ``Committed``
                in the blob that is there, ``Latest`` in both, the staged ones first (Azure's page "Put Block List").

        Raises:
            ServiceError: 400 where one is not there.
        """
        staged, committed = self._blocks.get(path, {}), self._committed(path)
        places = {"Uncommitted": staged, "Committed": committed, "Latest": {**committed, **staged}}
        try:
            return [(name, places[where][name]) for where, name in wanted]
        except KeyError:
            raise ServiceError(400, "InvalidBlockList", "The specified block list is invalid.") from None

    def _committed(self, path: str) -> dict[str, bytes]:
        blob = self._blobs.get(path)
        found: dict[str, bytes] = {}
        start = 0
        for name, size in (blob.blocks if blob else {}).items():
            found[name] = blob.data[start : start + size] if blob else b""
            start += size
        return found

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
