"""Bytes kept as files by their digest: what a folder's blobs and large requests hold."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from phi_finetune.emulator.storage.blobs import Files, StoredFile
from phi_finetune.local._files import take_in

__all__ = ["Contents", "below", "private_folder", "put_files", "write_whole"]

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


def below(folder: Path, name: str) -> Path:
    """A path inside a folder.

    Raises:
        ValueError: The name leads out of it.
    """
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"{name!r} leads out of its folder")
    return path


def put_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Put files into a folder by their names. Those that lie on this disk are not read into memory.

    Raises:
        ValueError: A name leads out of the folder.
        OSError: One cannot be read, or there is no room.
    """
    for name in files:
        target = below(folder, name)
        private_folder(target.parent)
        lies_at = files.path(name) if isinstance(files, Files) else None
        if lies_at is None:
            write_whole(target, files[name])
        else:
            take_in(lies_at, target)


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
