"""Bytes kept as files by their digest: what a folder's blobs and large requests hold."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from phi_finetune.emulator.storage.blobs import StoredFile

__all__ = ["Contents", "private_folder", "write_whole"]

SMALL = 4096
"""What is no larger, in bytes, stays where it is."""


class Contents:
    """Files named for the SHA-256 of their bytes. Each is written once and never changed.

    Args:
        folder: Where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, data: bytes) -> bytes | Callable[[], bytes]:
        """Keep bytes: small ones as they are, others as a file; what gives them back."""
        if len(data) <= SMALL:
            return data
        return StoredFile(self.path(self.write(data)))

    def write(self, data: bytes) -> str:
        """Write a file, if it is not there; its digest."""
        digest = hashlib.sha256(data).hexdigest()
        path = self.path(digest)
        if not path.exists():
            private_folder(path.parent)
            write_whole(path, data)
        return digest

    def read(self, digest: str) -> bytes:
        """The bytes of a digest."""
        return self.path(digest).read_bytes()

    def path(self, digest: str) -> Path:
        """Where the bytes of a digest lie."""
        return self._folder / digest[:2] / digest[2:]


def private_folder(path: Path) -> None:
    """Make a folder, and those above it that are not there, for their owner alone."""
    if not path.is_dir():
        private_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that whoever looks sees all of it or nothing, and only its owner can look."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")  # made with the mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
